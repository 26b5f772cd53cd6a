"""Debian version numbers, ordered as dpkg orders them.

Source: Debian Policy, section 5.6.12, "Version"; deb-version(7).
"""

from __future__ import annotations

import operator
import re
from functools import lru_cache

_VERSION = re.compile(r"(?:([0-9]+):)?([A-Za-z0-9.+~-]+?)(?:-([A-Za-z0-9+.~]+))?\Z")
_PIECES = re.compile(r"([^0-9]*)([0-9]*)")

Key = tuple[int, tuple[object, ...], tuple[object, ...]]
"""What two versions are compared by: epoch, upstream version, Debian revision."""


@lru_cache(maxsize=1 << 14)
def version_key(text: str) -> Key:
    """Return a key that sorts as dpkg compares. Errors: `ValueError` for what is not a version."""
    epoch, upstream, revision = split_version(text)
    return epoch, _part_key(upstream), _part_key(revision)


def split_version(text: str) -> tuple[int, str, str]:
    """Return `(epoch, upstream, revision)`; a missing epoch is 0 and a missing revision is empty."""
    match = _VERSION.match(text)
    if not match:
        raise ValueError(f"not a Debian version: {text!r}")
    return int(match[1] or 0), match[2], match[3] or ""


def upstream_version(text: str) -> str:
    """Return the version that the program's authors gave it: `3.11.2` of `3.11.2-6+deb12u8`."""
    return split_version(text)[1]


def _part_key(part: str) -> tuple[object, ...]:
    """Return runs of non-digits and numbers in turn.

    An empty revision equals `0`, as Policy says that its absence is the same as `-0`.
    """
    return tuple(
        item for letters, digits in _PIECES.findall(part or "0") for item in (_letters_key(letters), int(digits or 0))
    )


def _letters_key(letters: str) -> tuple[int, ...]:
    """Return weights in which `~` sorts before the end of the run, the end before letters, letters before the rest."""
    return (*(_weight(letter) for letter in letters), 0)


def _weight(letter: str) -> int:
    if letter == "~":
        return -1
    return ord(letter) if letter.isalpha() else ord(letter) + 256


_OPERATORS = {
    "<<": operator.lt,
    "<=": operator.le,
    "=": operator.eq,
    ">=": operator.ge,
    ">>": operator.gt,
    "<": operator.le,  # the two deprecated operators mean "or equal" (Policy 7.1)
    ">": operator.ge,
}
OPERATORS = frozenset(_OPERATORS)


def satisfies(version: str, relation: str, wanted: str) -> bool:
    """Whether `version` stands in `relation` (`<<`, `<=`, `=`, `>=`, `>>`, or empty for any) to `wanted`."""
    return not relation or _OPERATORS[relation](version_key(version), version_key(wanted))
