"""What is missing, in people's words, and as a document for programs and for the store. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from repro_env.build.missing_findings import Finding, Missing, Packages, VersionGap

_SHOWN = 8
_NEWEST = {"GLIBC": "glibc", "GLIBCXX": "libstdc++", "CXXABI": "libstdc++", "GCC": "libgcc"}


def missing_lines(missing: Missing, packages: Packages, *, base: str, debian: bool) -> Iterator[str]:
    """Yield a line for each finding: who needs what, and what to do.

    `packages` are the distribution's, where they are known; `base` is the base's name in repro.toml, of Debian
    packages or an image.
    """
    for finding in missing.findings:
        if finding.libraries:
            yield _libraries_line(finding, packages, base, debian=debian)
        if finding.versions:
            yield _versions_line(finding, base, debian=debian)


def _libraries_line(finding: Finding, packages: Packages, base: str, *, debian: bool) -> str:
    what = f"{_who(finding)} needs {_listed(finding.libraries)}, which nothing in this image provides"
    known = _fewest({packages.names[name] for name in finding.libraries if name in packages.names}, packages)
    if debian and known:
        return f"{what}: add {_listed(known)} to base.{base}.packages"
    return f"{what}: add what has it to {f'base.{base}.packages' if debian else f'the image of base.{base}'}"


def _fewest(names: set[str], packages: Packages) -> list[str]:
    """Return the packages that bring all of these along, sorted. Of two that bring each other, the first stays."""
    kept = set(names)
    for name in sorted(names, reverse=True):
        if any(name in packages.brings.get(other, ()) for other in kept - {name}):
            kept.remove(name)
    return sorted(kept)


def _versions_line(finding: Finding, base: str, *, debian: bool) -> str:
    gaps = [f"{gap.version} ({_best(gap)})" for gap in finding.versions]
    other = "a newer suite" if debian else "a newer image"
    who = finding.package.partition(" ")[0] or "the package"
    advice = f"choose {other} for base.{base}, or a build of {who} for an older system"
    return f"{_who(finding)} needs {_listed(gaps)}: {advice}"


def _best(gap: VersionGap) -> str:
    kind = gap.version.rpartition("_")[0]
    name = _NEWEST.get(kind, gap.library)
    return f"this image's {name} has {gap.found} at most" if gap.found else f"{gap.library} here has none"


def _who(finding: Finding) -> str:
    name = finding.package.partition(" ")[0]
    same = finding.module.replace("_", "-").lower() == name
    return finding.package if same or not finding.module else f"{finding.module} ({finding.package or 'of no package'})"


def _listed(names: Sequence[str]) -> str:
    """Return `a`, `a and b`, `a, b and c`, and of many the first."""
    shown = list(names[:_SHOWN])
    if len(names) > _SHOWN:
        shown.append(f"{len(names) - _SHOWN} more")
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def missing_document(missing: Missing) -> dict[str, Any]:
    """Return findings as plain values with stable keys."""
    return {
        "findings": [_finding_document(finding) for finding in missing.findings],
        "optional": [_finding_document(finding) for finding in missing.optional],
        "driver": {package: list(names) for package, names in missing.driver.items()},
    }


def missing_from_document(document: Mapping[str, Any]) -> Missing:
    """Return what `missing_document` was given. Errors: `KeyError`, `TypeError` for anything else."""
    return Missing(
        findings=tuple(_finding(one) for one in document["findings"]),
        optional=tuple(_finding(one) for one in document["optional"]),
        driver={package: tuple(names) for package, names in document["driver"].items()},
    )


def _finding_document(finding: Finding) -> dict[str, Any]:
    return {
        "package": finding.package,
        "module": finding.module,
        "libraries": list(finding.libraries),
        "versions": [{"library": gap.library, "version": gap.version, "found": gap.found} for gap in finding.versions],
        "files": list(finding.files),
    }


def _finding(document: Mapping[str, Any]) -> Finding:
    return Finding(
        package=document["package"],
        module=document["module"],
        libraries=tuple(document["libraries"]),
        versions=tuple(VersionGap(**gap) for gap in document["versions"]),
        files=tuple(document["files"]),
    )
