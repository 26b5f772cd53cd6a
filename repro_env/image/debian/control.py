"""Debian's control files: stanzas of fields, and the relations between packages that some fields hold.

Source: Debian Policy, chapters 5 ("Control files") and 7 ("Declaring relationships between packages").
"""

from __future__ import annotations

import re

from repro_env.frozen import dataclass
from repro_env.image.debian.version import satisfies, version_key


@dataclass(frozen=True, slots=True)
class Relation:
    """One alternative of a dependency: `name`, optionally `(operator version)`.

    `qualifier` is what follows a colon: `any`, `native` or an architecture. Empty text stands for "not given".
    """

    name: str
    operator: str = ""
    version: str = ""
    qualifier: str = ""

    def accepts(self, version: str) -> bool:
        """Whether a package of this relation's name and of `version` is what it asks for."""
        return satisfies(version, self.operator, self.version)

    def __str__(self) -> str:
        name = f"{self.name}:{self.qualifier}" if self.qualifier else self.name
        return f"{name} ({self.operator} {self.version})" if self.operator else name


Group = tuple[Relation, ...]
"""Alternatives: any one of them will do, and an earlier one is preferred."""

_LINE_END = re.compile(r"\r?\n")
_RELATION = re.compile(
    r"""\s*(?P<name>[A-Za-z0-9][A-Za-z0-9+.-]*)
        (?::(?P<qualifier>[a-z0-9-]+))?
        \s*(?:\(\s*(?P<operator><<|<=|=|>=|>>|<|>)\s*(?P<version>[^\s()]+)\s*\))?
        \s*(?:\[(?P<architectures>[^\]]*)\])?
        \s*(?P<profiles>(?:<[^>]*>\s*)*)\Z""",
    re.VERBOSE,
)


def parse_stanza(text: str) -> dict[str, str]:
    """Return the fields of one stanza, names in lower case, continuation lines joined by line feeds.

    Errors: `ValueError` for a line that is neither a field nor a continuation.
    """
    fields: dict[str, str] = {}
    name = ""
    # `splitlines` would cut at other signs, too, such as a form feed in a description.
    for line in _LINE_END.split(text.strip("\r\n")) if text else ():
        if line[:1] in {" ", "\t"} and name:
            fields[name] += "\n" + line[1:]
            continue
        before, colon, value = line.partition(":")
        if not colon or not before or " " in before:
            raise ValueError(f"not a control field: {line[:80]!r}")
        name = before.lower()
        fields[name] = value.strip()
    return fields


def parse_relations(text: str, architecture: str) -> tuple[Group, ...]:
    """Return what a relation field such as `Depends` asks for on `architecture`.

    An alternative for other architectures (`[arm64]`) or of a build profile (`<!nocheck>`) is left out, and so is a
    group without any left. Errors: `ValueError` for what Policy's grammar does not allow.
    """
    groups = (
        tuple(
            relation
            for alternative in group.split("|")
            if (relation := _relation(alternative, architecture)) is not None
        )
        for group in text.replace("\n", " ").split(",")
        if group.strip()
    )
    return tuple(group for group in groups if group)


def _relation(text: str, architecture: str) -> Relation | None:
    match = _RELATION.match(text)
    if not match:
        raise ValueError(f"not a package relation: {text.strip()!r}")
    if match["profiles"] or not _for_architecture(match["architectures"], architecture):
        return None
    if match["version"]:
        version_key(match["version"])
    return Relation(match["name"], match["operator"] or "", match["version"] or "", match["qualifier"] or "")


def _for_architecture(listed: str | None, architecture: str) -> bool:
    """Whether a list such as `amd64 arm64` or `!i386` holds for this architecture (Policy 7.1 and 11.1)."""
    if listed is None:
        return True
    words = listed.split()
    names = {architecture, "any", "linux-any", f"any-{architecture}", f"linux-{architecture}"}
    if any(word.startswith("!") for word in words):
        return not any(word[1:] in names for word in words)
    return any(word in names for word in words)
