"""Dependency groups of a `pyproject.toml`, with the groups they include."""

from __future__ import annotations

from typing import Any

from repro_env.config.problems import did_you_mean
from repro_env.values import normalise_name


class GroupError(ValueError):
    """A dependency group that is not there, includes itself, or holds something else than it should."""


def group_dependencies(document: dict[str, Any], name: str) -> tuple[str, ...]:
    """Return the requirements of a group, those of included groups in their place.

    `document` is the content of `pyproject.toml`. Errors: `GroupError` for an unknown group, a cycle, or an entry that
    is neither a requirement nor an include. Source: PEP 735, https://peps.python.org/pep-0735/
    """
    groups = document.get("dependency-groups", {})
    if not isinstance(groups, dict):
        raise GroupError("dependency-groups is not a table")
    named: dict[str, Any] = {}  # by normalised name
    for key, entries in groups.items():
        if named.setdefault(normalise_name(key), entries) is not entries:
            raise GroupError(f'dependency-groups has "{key}" under two spellings')
    return tuple(_expand(named, name, ()))


def _expand(groups: dict[str, Any], name: str, above: tuple[str, ...]) -> list[str]:
    key = normalise_name(name)
    if key in above:
        raise GroupError(f"dependency groups include each other: {' -> '.join((*above[above.index(key) :], key))}")
    if key not in groups:
        hint = did_you_mean(key, groups)
        raise GroupError(f'there is no dependency group "{name}"' + (f"; {hint}" if hint else ""))
    if not isinstance(groups[key], list):
        raise GroupError(f'dependency group "{name}" is not a list')
    found: list[str] = []
    for entry in groups[key]:
        if isinstance(entry, str):
            found.append(entry)
        elif isinstance(entry, dict) and list(entry) == ["include-group"] and isinstance(entry["include-group"], str):
            found += _expand(groups, entry["include-group"], (*above, key))
        else:
            raise GroupError(f'dependency group "{name}" holds what is neither a requirement nor an include-group')
    return found
