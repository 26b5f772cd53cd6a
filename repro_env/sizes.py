"""Sizes in bytes, as people write and read them."""

from __future__ import annotations

import re

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS.update({"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40})
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,15})?)\s*([A-Za-z]*)\Z")


def parse_size(text: str) -> int:
    """Return bytes for `512MiB`, `40GiB`, `2GB` or a plain number. Errors: `ValueError`."""
    match = _SIZE.match(text.strip())
    if not match or match[2] not in _UNITS:
        raise ValueError(f"expected a size such as 512MiB or 40GiB, found {text!r}")
    return int(float(match[1]) * _UNITS[match[2]])


def format_size(count: int) -> str:
    """Return bytes for people: `0 B`, `1.5 KiB`, `201.3 MiB`."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:  # noqa: PLR2004 - the unit itself
            return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def format_asked(count: int) -> str:
    """Return bytes that somebody asked for as they may have written them: `40.0 GiB`, `40 GB (37.3 GiB)`."""
    size = format_size(count)
    if count % _UNITS["MiB"] == 0:
        return size
    decimal = next((unit for unit in ("TB", "GB", "MB") if count % _UNITS[unit] == 0), "")
    return f"{count // _UNITS[decimal]} {decimal} ({size})" if decimal else size
