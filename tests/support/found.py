"""Libraries of an image described in a line each, for tests of what is looked for among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from repro_env.build.library_tree import LibraryTree
from repro_env.image.elf import Elf
from repro_env.image.libraries import LayerLibraries, Library
from repro_env.values import Platform

AMD64 = Platform("amd64")
SITE = "opt/env/lib/python3.11/site-packages"
LIB = "usr/lib/x86_64-linux-gnu"


def library(
    path: str,
    *needed: str,
    package: str = "shape 1.0",
    soname: str = "",
    machine: int = 62,
    bits: int = 64,
    rpath: str = "",
    runpath: str = "",
    needs: Mapping[str, Sequence[str]] | None = None,
    defines: Sequence[str] = (),
) -> Library:
    """Return a library; `needed` are the names it needs, and so are the keys of `needs`, with versions."""
    versions = {name: tuple(asked) for name, asked in (needs or {}).items()}
    elf = Elf(
        machine=machine,
        bits=bits,
        soname=soname,
        needed=(*needed, *(name for name in versions if name not in needed)),
        rpath=rpath,
        runpath=runpath,
        needs=versions,
        defines=tuple(defines),
    )
    return Library(path=path, package=package, elf=elf)


def base(**configuration: str) -> LayerLibraries:
    """Return a base layer like Debian's: glibc, libstdc++, merged /usr. `own="/opt/lib"` configures a directory."""
    glibc = [f"GLIBC_2.{number}" for number in (2, 17, 28, 31)]
    return LayerLibraries(
        files=(
            library(f"{LIB}/libc.so.6", package="libc6 2.31", soname="libc.so.6", defines=glibc[:-1]),
            library(f"{LIB}/libm.so.6", package="libc6 2.31", soname="libm.so.6", defines=glibc),
            library(
                f"{LIB}/libstdc++.so.6.0.28",
                package="libstdc++6 10",
                soname="libstdc++.so.6",
                defines=("GLIBCXX_3.4", "GLIBCXX_3.4.9", "GLIBCXX_3.4.28", "CXXABI_1.3", "CXXABI_1.3.12"),
            ),
        ),
        links={f"{LIB}/libstdc++.so.6": "libstdc++.so.6.0.28", "lib": "usr/lib", "lib64": "/usr/lib64"},
        configuration={
            "etc/ld.so.conf": "include /etc/ld.so.conf.d/*.conf\n",
            **{f"etc/ld.so.conf.d/{name}.conf": text for name, text in configuration.items()},
        },
    )


def tree(*layers: LayerLibraries | Library, search: str = "") -> LibraryTree:
    """Return the tree of the base and these layers; a library alone is a layer of its own."""
    every = [LayerLibraries(files=(one,)) if isinstance(one, Library) else one for one in layers]
    return LibraryTree([base(), *every], AMD64, search=search)
