"""What would be missing at run time: libraries that nothing in an image provides, symbol versions above the base's.

Pure: from what is known of an image's layers to findings. Each `DT_NEEDED` is looked for as the dynamic linker would
(`library_tree`). A library that it would not find so but that stands anywhere in the image counts as provided too: a
package may load it by its path before it is needed, as those that bring NVIDIA's libraries do, and the linker then
takes what is loaded under that name. A false alarm would teach people to overlook the true ones, so this errs on the
silent side:

- only the environment's packages are looked at: a base's own follow from its packages' dependencies, or are the
  business of whoever made the image;
- what a package opens by name only where it can (`optional`) is told apart;
- files of another machine or word size, and those linked against another C library than glibc, are left alone;
- a symbol version is missed only if no library of that name in the image defines it.
"""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from repro_env.build.library_tree import LibraryTree
from repro_env.build.missing_findings import Finding, Missing, VersionGap
from repro_env.build.optional import PREFIX, Loaded, loaded_files, spared_variants
from repro_env.image.libraries import Library

_DRIVER = re.compile(
    r"libcuda(debugger)?\.so|libnvidia-[\w-]+\.so|libnvcuvid\.so|libnvoptix\.so|libnvdxgdmal\.so|libdxcore\.so"
    r"|lib(GLX|EGL|GLESv1_CM|GLESv2)_nvidia\.so|libvdpau_nvidia\.so"
)
"""Libraries that come with NVIDIA's driver: the runtime puts them into the container.
Source: libnvidia-container, `src/nvc_info.c`."""

_OTHER_C_LIBRARY = re.compile(r"libc\.musl-|ld-musl-|libc\.so\Z")
"""musl's and Android's: whoever needs these was not made for this image."""

_SITE_PACKAGES = re.compile(r".*/site-packages/")
_VERSION = re.compile(r"(?P<name>.*?)_(?P<number>\d+(?:\.\d+)*)\Z")


def find_missing(tree: LibraryTree) -> Missing:
    """Return what an image's packages miss."""
    own = [library for library in tree.files.values() if _concerns(tree, library)]
    driver: dict[str, set[str]] = defaultdict(set)
    gaps: dict[str, list[str | VersionGap]] = {}
    for library in own:
        names = list(_unprovided(tree, library))
        driver[library.package].update(name for name in names if _DRIVER.match(name))
        lacking: list[str | VersionGap] = [name for name in names if not _DRIVER.match(name)]
        lacking += _version_gaps(tree, library)
        if lacking:
            gaps[library.path] = lacking
    loaded = loaded_files(tree)
    sure = loaded.files - spared_variants(tree.files, gaps)
    return Missing(
        findings=_findings(tree, {path: gaps[path] for path in sorted(gaps) if path in sure}, loaded),
        optional=_findings(tree, {path: gaps[path] for path in sorted(gaps) if path not in sure}, loaded),
        driver={package: tuple(sorted(names)) for package, names in sorted(driver.items()) if names},
    )


def _concerns(tree: LibraryTree, library: Library) -> bool:
    """Whether a file is the environment's and was made for this image: its machine, and its C library."""
    elf = library.elf
    if elf is None or not library.path.startswith(f"{PREFIX}/") or not tree.fits(library):
        return False
    return not any(_OTHER_C_LIBRARY.match(name) for name in elf.needed)


def _unprovided(tree: LibraryTree, library: Library) -> Iterator[str]:
    for name in library.elf.needed if library.elf else ():
        if tree.find(name, library) is None and not tree.named(name):
            yield name


def _version_gaps(tree: LibraryTree, library: Library) -> Iterator[VersionGap]:
    """Yield, for each library and kind of version, the highest version that it lacks."""
    for name, versions in library.elf.needs.items() if library.elf else ():
        first = tree.find(name, library)
        providers = [*([first] if first else []), *tree.named(name)]
        # A library without version definitions, or that cannot be read, is taken as it is, as the linker does.
        if not providers or any(other.elf is None or not other.elf.defines for other in providers):
            continue
        defined = {version for other in providers if other.elf for version in other.elf.defines}
        lacking = [version for version in versions if version not in defined]
        for kind in sorted({_kind(version) for version in lacking}):
            highest = max((version for version in lacking if _kind(version) == kind), key=_number)
            yield VersionGap(library=name, version=highest, found=_best(tree, providers, kind))


def _best(tree: LibraryTree, providers: Iterable[Library], kind: str) -> str:
    """Return the highest version of a kind that these libraries, or those beside them, define.

    The versions of the C library are those of all its parts: libm has GLIBC_2.31 where libc stops at GLIBC_2.30.
    """
    places = {posixpath.dirname(provider.path) for provider in providers}
    beside = [library for path, library in tree.files.items() if posixpath.dirname(path) in places]
    defined = (version for library in beside if library.elf for version in library.elf.defines)
    return max((version for version in defined if _kind(version) == kind), key=_number, default="")


def _kind(version: str) -> str:
    match = _VERSION.match(version)
    return match["name"] if match else version


def _number(version: str) -> tuple[int, ...]:
    match = _VERSION.match(version)
    return tuple(map(int, match["number"].split("."))) if match else ()


def _findings(tree: LibraryTree, gaps: Mapping[str, Sequence[str | VersionGap]], loaded: Loaded) -> tuple[Finding, ...]:
    packages: dict[str, list[str]] = defaultdict(list)
    for path in gaps:
        packages[tree.files[path].package].append(path)
    return tuple(
        _finding(
            package,
            module=module_of([*paths, *loaded.roots.get(package, ())]),
            paths=paths,
            gaps=[gap for path in paths for gap in gaps[path]],
        )
        for package, paths in sorted(packages.items())
    )


def _finding(package: str, *, module: str, paths: Sequence[str], gaps: Sequence[str | VersionGap]) -> Finding:
    versions: dict[tuple[str, str], VersionGap] = {}
    for gap in gaps:
        if isinstance(gap, VersionGap):
            key = (gap.library, _kind(gap.version))
            versions[key] = max(versions.get(key, gap), gap, key=lambda one: _number(one.version))
    return Finding(
        package=package,
        module=module,
        libraries=tuple(sorted({gap for gap in gaps if isinstance(gap, str)})),
        versions=tuple(sorted(versions.values())),
        files=tuple(paths),
    )


def module_of(files: Sequence[str]) -> str:
    """Return the name that people know files by: a module that one of them is in, else the first file's own name."""
    inside = [_SITE_PACKAGES.sub("", path, count=1) for path in files if _SITE_PACKAGES.match(path)]
    tops = [path.partition("/")[0] for path in inside]
    modules = [top.partition(".")[0] for top in tops if not top.endswith(".libs")]
    return next(iter([*modules, *map(posixpath.basename, files)]), "")
