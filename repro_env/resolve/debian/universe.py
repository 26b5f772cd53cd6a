"""The packages that can be chosen from: several `Packages` indexes, read only as far as they are asked about.

An index of Debian's main archive is 50 MB of text with 63,000 stanzas, of which a base needs some hundred. So the
text is cut into stanzas without looking inside, and a stanza is parsed when its name comes up.
"""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

from repro_env.errors import IntegrityError
from repro_env.image.debian.control import Relation, parse_stanza
from repro_env.image.debian.version import version_key
from repro_env.resolve.debian.package import BinaryPackage, binary_package

_PRIORITIES = ("required", "important", "standard", "optional", "extra")
_PROVIDES = b"\nProvides: "
_NAME = re.compile(rb"Package: ?([^\n]+)")


class Universe:
    """Every package of the given indexes, for one architecture.

    `pinned` are versions, by name, that go before newer ones where an index still has them.
    """

    def __init__(self, indexes: Sequence[bytes], architecture: str, pinned: Mapping[str, str] | None = None) -> None:
        self.architecture = architecture
        self._pinned = pinned or {}
        self._stanzas: dict[str, list[tuple[int, bytes]]] = defaultdict(list)
        self._providers: dict[str, set[str]] = defaultdict(set)
        self._parsed: dict[str, tuple[BinaryPackage, ...]] = {}
        for number, text in enumerate(indexes):
            self._add(number, text)

    def _add(self, number: int, text: bytes) -> None:
        for stanza in text.split(b"\n\n"):
            match = _NAME.match(stanza.lstrip(b"\n"))
            if match:
                self._stanzas[match[1].decode()].append((number, stanza))
                if _PROVIDES in stanza:
                    self._note_provides(match[1].decode(), stanza)

    def _note_provides(self, name: str, stanza: bytes) -> None:
        line = stanza.partition(_PROVIDES)[2].partition(b"\n")[0].decode()
        for provided in line.split(","):
            self._providers[provided.split("(")[0].strip()].add(name)

    def versions(self, name: str) -> tuple[BinaryPackage, ...]:
        """Return the packages of this name, best first: the pinned version, then newer before older.

        Errors: `IntegrityError` for a stanza that cannot be read.
        """
        if name not in self._parsed:
            found = [self._parse(number, stanza) for number, stanza in self._stanzas.get(name, ())]
            pin = self._pinned.get(name)
            found.sort(key=lambda package: (package.version == pin, version_key(package.version)), reverse=True)
            self._parsed[name] = tuple(found)
        return self._parsed[name]

    def candidate(self, name: str) -> BinaryPackage | None:
        """Return the one version of this name that is considered, as apt does: the best, or None if there is none."""
        return next(iter(self.versions(name)), None)

    def _parse(self, number: int, stanza: bytes) -> BinaryPackage:
        try:
            fields = parse_stanza(stanza.decode().strip("\n"))
            return binary_package(fields, architecture=self.architecture, source=number)
        except ValueError as error:
            raise IntegrityError("a package index cannot be read", str(error)) from error

    def options(self, relation: Relation) -> tuple[BinaryPackage, ...]:
        """Return what satisfies one alternative, best first: the package itself, then those that provide it.

        Providers go by priority, then by name. A versioned relation is met only by a versioned `Provides` (Policy 7.5).
        """
        if relation.qualifier not in {"", "any", "native", self.architecture}:
            return ()
        own = self.candidate(relation.name)
        found = [own] if own is not None and relation.accepts(own.version) else []
        providers = (self.candidate(name) for name in self._providers.get(relation.name, ()) if name != relation.name)
        fitting = [package for package in providers if package is not None and provides(package, relation)]
        return (*found, *sorted(fitting, key=_preference))

    def nearest(self, name: str) -> list[str]:
        """Return up to five existing names most like `name`, for a message."""
        near = difflib.get_close_matches(name, self._stanzas, n=5, cutoff=0.7)
        longer = sorted((other for other in self._stanzas if name in other), key=lambda other: (len(other), other))
        return list(dict.fromkeys([*near, *longer]))[:5]


def provides(package: BinaryPackage, relation: Relation) -> bool:
    """Whether a package's `Provides` satisfies the relation."""
    return any(
        entry.name == relation.name
        and (not relation.operator or (bool(entry.version) and relation.accepts(entry.version)))
        for entry in package.provides
    )


def _preference(package: BinaryPackage) -> tuple[int, str]:
    rank = _PRIORITIES.index(package.priority) if package.priority in _PRIORITIES else len(_PRIORITIES)
    return rank, package.name
