"""What is missing in an image, as values: a finding, a gap between versions, the packages that would fill them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field

from repro_env.frozen import dataclass


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class VersionGap:
    """A symbol version that is asked of a library and that no library of its name defines.

    `found` is the highest version of the same kind that is there, empty if none.
    """

    library: str
    version: str
    found: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one package misses. `package` is its name and version, `module` the name people know its files by.

    `libraries` are those that nothing provides, `versions` the highest of each kind that is not there, `files` the
    paths that need them.
    """

    package: str
    module: str
    libraries: tuple[str, ...] = ()
    versions: tuple[VersionGap, ...] = ()
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """Of one image: findings by package, and which packages use which libraries of the GPU's driver.

    `optional` are findings of files that a package may well do without.
    """

    findings: tuple[Finding, ...] = ()
    optional: tuple[Finding, ...] = ()
    driver: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def libraries(self) -> tuple[str, ...]:
        """Every library that is missed, each once, sorted."""
        return tuple(sorted({library for finding in self.findings for library in finding.libraries}))


@dataclass(frozen=True, slots=True)
class Packages:
    """A distribution's packages of some libraries: library to package, and package to those it depends on."""

    names: Mapping[str, str] = field(default_factory=dict)
    brings: Mapping[str, Sequence[str]] = field(default_factory=dict)
