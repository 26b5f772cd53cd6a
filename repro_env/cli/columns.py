"""Tables that leave out what matters least where a terminal is narrow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def left_out(widths: Mapping[str, int], spared: Sequence[str], room: int, gap: int) -> Sequence[str]:
    """Return the columns to do without in `room` characters, of those that can be spared, what matters least first.

    `widths` are those of all columns, which stand `gap` characters apart.
    """
    missing = sum(widths.values()) + gap * (len(widths) - 1) - room
    left: list[str] = []
    for title in spared:
        if title in widths and missing > 0:
            left.append(title)
            missing -= widths[title] + gap
    for title in reversed(left.copy()):  # a wide one may have made room for those that went before it
        if missing + widths[title] + gap <= 0:
            left.remove(title)
            missing += widths[title] + gap
    return left
