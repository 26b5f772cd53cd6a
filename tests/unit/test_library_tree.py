"""Which library a needed name leads to, as ld.so(8) has it."""

from __future__ import annotations

import pytest
from found import AMD64, LIB, SITE, base, library, tree

from repro_env.build.library_tree import LibraryTree
from repro_env.image.libraries import LayerLibraries, Library


def found(where: LibraryTree, name: str, wanted_by: Library) -> str:
    library_found = where.find(name, wanted_by)
    return library_found.path if library_found else ""


MODULE = f"{SITE}/shape/core.so"


@pytest.mark.parametrize(
    ("runpath", "place"),
    [
        ("$ORIGIN", f"{SITE}/shape/libx.so.1"),
        ("${ORIGIN}/../shape.libs", f"{SITE}/shape.libs/libx.so.1"),
        ("/nowhere:$ORIGIN/../../../../lib/", "opt/env/lib/libx.so.1"),
        ("/opt/$LIB", "opt/lib64/libx.so.1"),
        ("$ORIGIN/../link/deep", "srv/real/deep/libx.so.1"),
    ],
)
@pytest.mark.parametrize("kind", ["rpath", "runpath"])
def test_a_file_says_where_to_look(kind: str, runpath: str, place: str) -> None:
    user = library(MODULE, "libx.so.1", **{kind: runpath})  # type: ignore[arg-type]
    links = LayerLibraries(links={f"{SITE}/link": "/srv/real"})
    assert found(tree(user, links, library(place)), "libx.so.1", user) == place


def test_a_runpath_goes_before_the_default_directories_and_after_the_variable() -> None:
    user = library(MODULE, "libx.so", runpath="$ORIGIN")
    copies = [library(path) for path in (f"{SITE}/shape/libx.so", "srv/libx.so", f"{LIB}/libx.so")]
    assert found(tree(user, *copies), "libx.so", user) == f"{SITE}/shape/libx.so"
    assert found(tree(user, *copies, search="relative:/srv"), "libx.so", user) == "srv/libx.so"
    older = library(MODULE, "libx.so", rpath="$ORIGIN")
    assert found(tree(older, *copies, search="/srv"), "libx.so", older) == f"{SITE}/shape/libx.so"
    both = library(MODULE, "libx.so", rpath="/srv", runpath="/nowhere")
    assert found(tree(both, *copies), "libx.so", both) == f"{LIB}/libx.so"


@pytest.mark.parametrize("place", [f"{LIB}/libx.so", "usr/lib/libx.so", "usr/lib64/libx.so", "opt/own/libx.so"])
def test_the_default_and_the_configured_directories(place: str) -> None:
    user = library(MODULE)
    layers = [base(own="# ours\n/opt/own /opt/other\n"), LayerLibraries(files=(user, library(place)))]
    assert found(LibraryTree(layers, AMD64), "libx.so", user) == place


def test_a_directory_that_nobody_configured_is_not_looked_into() -> None:
    user, hidden = library(MODULE), library(f"{LIB}/private/libx.so.2", soname="libx.so.2")
    where = tree(user, hidden)
    assert where.find("libx.so.2", user) is None
    assert list(where.named("libx.so.2")) == [hidden]


def test_links_are_followed_through_directories_and_alternatives() -> None:
    user, real = library(MODULE), library(f"{LIB}/blas/libblas.so.3.10", soname="libblas.so.3")
    links = {
        f"{LIB}/libblas.so.3": "/etc/alternatives/libblas",
        "etc/alternatives/libblas": f"/{LIB}/current/../blas/libblas.so.3.10",
        f"{LIB}/current": "blas",
    }
    assert found(tree(user, real, LayerLibraries(links=links)), "libblas.so.3", user) == real.path
    assert found(tree(user, real, LayerLibraries(links=links)), "/lib/x86_64-linux-gnu/libblas.so.3", user) == real.path


def test_circles_of_links_and_of_includes_lead_nowhere() -> None:
    user = library(MODULE, runpath="/ring/a")
    layer = LayerLibraries(
        files=(user,),
        links={f"{LIB}/libx.so": "libx.so", "ring": "ring/x", "a": "b", "b": "a"},
        configuration={"etc/ld.so.conf": "include /etc/ld.so.conf ld.so.conf.d/*\n/a\nhwcap 1 /b\n"},
    )
    where = LibraryTree([base(), layer], AMD64)
    assert where.find("libx.so", user) is None
    assert where.at("a/x") is None


def test_a_library_of_another_machine_or_word_size_is_none() -> None:
    user = library(MODULE)
    where = tree(user, library(f"{LIB}/libx.so", machine=183), library(f"{LIB}/liby.so", bits=32, machine=3))
    assert where.find("libx.so", user) is None
    assert where.find("liby.so", user) is None
    assert not list(where.named("libx.so"))


def test_a_malformed_library_counts_as_what_its_name_says() -> None:
    user, unknown = library(MODULE), Library(path=f"{LIB}/libx.so", package="", elf=None)
    assert tree(user, unknown).find("libx.so", user) == unknown


def test_upper_layers_replace_hide_and_take_away() -> None:
    user = library(MODULE)
    below = LayerLibraries(
        files=tuple(library(f"{LIB}/{name}") for name in ("libgone.so", "libnew.so", "sub/libsub.so", "libback.so")),
        links={f"{LIB}/liblink.so": "libgone.so", "srv/old.so": f"/{LIB}/libnew.so"},
    )
    above = LayerLibraries(
        files=(library(f"{LIB}/libnew.so", soname="newer"), library(f"{LIB}/liblink.so"), library(f"{LIB}/sub/o.so")),
        links={f"{LIB}/libback.so": "libnew.so"},
        removed=(f"{LIB}/libgone.so",),
        emptied=(f"{LIB}/sub", "srv"),
    )
    where = LibraryTree([base(), below, above, LayerLibraries(files=(user,))], AMD64)
    assert where.find("libgone.so", user) is None
    assert found(where, "liblink.so", user) == f"{LIB}/liblink.so"
    newer = where.find("libback.so", user)
    assert newer is not None
    assert newer.elf is not None
    assert newer.elf.soname == "newer"
    assert where.at(f"{LIB}/sub/libsub.so") is None
    assert where.at(f"{LIB}/sub/o.so") is not None
    assert where.at("srv/old.so") is None
