"""One binary package, as an archive's index describes it."""

from __future__ import annotations

from collections.abc import Mapping

from repro_env.frozen import dataclass
from repro_env.image.debian.control import Group, Relation, parse_relations
from repro_env.image.debian.version import version_key


@dataclass(frozen=True, slots=True, kw_only=True)
class BinaryPackage:
    """One binary package as an index describes it. `source` numbers the index it stands in; `size` is in bytes."""

    name: str
    version: str
    architecture: str
    filename: str
    size: int
    sha256: str
    source: int
    priority: str
    depends: tuple[Group, ...]  # Pre-Depends first
    against: tuple[Group, ...]  # Conflicts and Breaks
    provides: tuple[Relation, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def binary_package(fields: Mapping[str, str], *, architecture: str, source: int) -> BinaryPackage:
    """Return the package that a stanza of a `Packages` index describes. Errors: `ValueError` naming what is wrong."""

    def relations(*names: str) -> tuple[Group, ...]:
        return tuple(group for name in names for group in parse_relations(fields.get(name, ""), architecture))

    try:
        version_key(fields["version"])
        return BinaryPackage(
            name=fields["package"],
            version=fields["version"],
            architecture=fields["architecture"],
            filename=fields["filename"],
            size=int(fields["size"]),
            sha256=fields["sha256"],
            source=source,
            priority=fields.get("priority", "optional"),
            depends=relations("pre-depends", "depends"),
            against=relations("conflicts", "breaks"),
            provides=tuple(group[0] for group in relations("provides")),
        )
    except KeyError as error:
        raise ValueError(f"the stanza of {fields.get('package', '?')} has no {error.args[0]}") from error
