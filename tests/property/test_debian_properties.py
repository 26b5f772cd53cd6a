from __future__ import annotations

import contextlib
import itertools
import subprocess
from collections.abc import Callable
from pathlib import Path

from debmaker import Entry, Made, make_ar, make_deb, make_tar, stanza_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repro_env.errors import BuildError, IntegrityError, ResolutionError
from repro_env.image.debian import build_base_layers
from repro_env.image.debian.control import Relation, parse_relations
from repro_env.image.debian.linker import cache_key
from repro_env.image.debian.version import OPERATORS, version_key
from repro_env.image.store import Store
from repro_env.lock.model import DebianRoot
from repro_env.resolve.debian.solve import solve
from repro_env.resolve.debian.universe import Universe

parts = st.text(alphabet="0123456789ab+.~Z", min_size=0, max_size=8)
upstream = st.builds(lambda digit, rest: f"{digit}{rest}", st.integers(0, 20), parts)
revision = st.text(alphabet="0123456789ab+.~", min_size=1, max_size=5)
versions = st.builds(
    lambda epoch, main, last: f"{epoch}{main}{last}",
    st.sampled_from(["", "", "0:", "1:"]),
    upstream,
    st.one_of(st.just(""), revision.map(lambda text: f"-{text}")),
)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(one=versions, other=versions)
def test_order_equals_that_of_dpkg(requires: Callable[..., None], one: str, other: str) -> None:
    requires("dpkg")
    done = subprocess.run(["dpkg", "--compare-versions", one, "lt", other], check=False, capture_output=True)
    assert (version_key(one) < version_key(other)) is (done.returncode == 0)


@settings(deadline=None)
@given(st.lists(versions, max_size=6))
def test_order_is_total(found: list[str]) -> None:
    ordered = sorted(found, key=version_key)
    assert all(version_key(a) <= version_key(b) for a, b in itertools.pairwise(ordered))


names = st.from_regex(r"[a-z0-9][a-z0-9+.-]{0,12}", fullmatch=True)
relations = st.builds(
    lambda name, version, operator, qualifier: Relation(name, operator if version else "", version, qualifier),
    names,
    st.one_of(st.just(""), versions),
    st.sampled_from(sorted(OPERATORS)),
    st.sampled_from(["", "", "any", "amd64"]),
)


@settings(deadline=None)
@given(st.lists(st.lists(relations, min_size=1, max_size=3), max_size=4))
def test_relations_are_read_as_they_are_written(groups: list[list[Relation]]) -> None:
    text = ", ".join(" | ".join(map(str, group)) for group in groups)
    assert parse_relations(text, "amd64") == tuple(map(tuple, groups))


def libcmp(one: str, other: str) -> int:
    """glibc's comparison, word by word from its documentation: runs of digits are numbers and sort after the rest."""
    i = j = 0
    while i < len(one):
        if one[i].isdigit():
            if j >= len(other) or not other[j].isdigit():
                return 1
            first, i = number(one, i)
            second, j = number(other, j)
            if first != second:
                return first - second
        elif j < len(other) and other[j].isdigit():
            return -1
        elif j >= len(other) or one[i] != other[j]:
            return ord(one[i]) - (ord(other[j]) if j < len(other) else 0)
        else:
            i, j = i + 1, j + 1
    return -ord(other[j]) if j < len(other) else 0


def number(text: str, place: int) -> tuple[int, int]:
    end = place
    while end < len(text) and text[end].isdigit():
        end += 1
    return int(text[place:end]), end


sonames = st.text(alphabet="lib-so.019xA_+", min_size=0, max_size=10)


@settings(deadline=None, max_examples=500)
@given(sonames, sonames)
def test_the_linkers_order(one: str, other: str) -> None:
    expected = libcmp(one, other)
    actual = (cache_key(one) > cache_key(other)) - (cache_key(one) < cache_key(other))
    assert actual == (expected > 0) - (expected < 0)


# The solver against trying everything

PACKAGES = "abcde"
virtuals = st.sampled_from(["v", "w"])


@st.composite
def worlds(draw: st.DrawFn) -> dict[str, dict[str, str]]:
    """A handful of packages with random relations to each other and to virtual ones."""
    name = st.sampled_from([*PACKAGES, "v", "w", "missing"])
    versioned = st.builds(lambda n, o: f"{n} ({o} 1)" if o else n, name, st.sampled_from(["", "", ">=", "<<"]))
    depends = st.lists(st.lists(versioned, min_size=1, max_size=3).map(" | ".join), max_size=2).map(", ".join)
    return {
        package: {
            "Depends": draw(depends),
            "Conflicts": draw(st.lists(name, max_size=1).map(", ".join)),
            "Provides": draw(st.lists(st.sampled_from(["v", "w (= 1)"]), max_size=1).map(", ".join)),
        }
        for package in PACKAGES
    }


def fits(relation: Relation, package: str, world: dict[str, dict[str, str]]) -> bool:
    if relation.name == package:
        return relation.accepts("1")
    offered = world[package]["Provides"]
    return offered.split(" ")[0] == relation.name and (
        not relation.operator or ("=" in offered and relation.accepts("1"))
    )


def consistent(chosen: set[str], world: dict[str, dict[str, str]]) -> bool:
    for package in chosen:
        for group in parse_relations(world[package]["Depends"], "amd64"):
            if not any(fits(relation, other, world) for relation in group for other in chosen):
                return False
        for (relation,) in parse_relations(world[package]["Conflicts"], "amd64"):
            if any(fits(relation, other, world) for other in chosen - {package}):
                return False
    return True


@settings(deadline=None, max_examples=400)
@given(world=worlds(), wishes=st.lists(st.sampled_from(PACKAGES), min_size=1, max_size=2, unique=True))
def test_the_solver_finds_a_consistent_set_exactly_when_there_is_one(
    world: dict[str, dict[str, str]], wishes: list[str]
) -> None:
    text = "\n".join(
        stanza_of(name, "1", **{key: value for key, value in fields.items() if value}) for name, fields in world.items()
    )
    universe = Universe([text.encode()], "amd64")
    possible = [
        set(found)
        for size in range(1, len(PACKAGES) + 1)
        for found in itertools.combinations(PACKAGES, size)
        if set(wishes) <= set(found) and consistent(set(found), world)
    ]
    try:
        chosen = set(solve(universe, parse_relations(", ".join(wishes), "amd64"), fixed={}, asker="base x"))
    except ResolutionError:
        assert not possible
    else:
        assert chosen in possible


# Damaged packages

WHOLE = make_deb(
    "a",
    files={"usr/bin/x": b"content " * 40, "usr/lib/l": Entry(kind=b"2", link="../bin/x"), "usr/lib/h": b"h"},
    control={"postinst": b"#!/bin/sh\nupdate-alternatives --install /usr/bin/y y /usr/bin/x 5\n"},
)
CONTROL_TAR = make_tar([("./control", Entry(content=b"Package: a\nVersion: 1.0-1\nArchitecture: amd64\n"))])
DATA_TAR = make_tar(
    [("./x", Entry(content=b"1")), ("./l", Entry(kind=b"2", link="x")), ("./h", Entry(kind=b"1", link="./x"))]
)


def damage(data: bytes, changes: list[tuple[int, int]]) -> bytes:
    damaged = bytearray(data)
    for place, value in changes:
        damaged[place % len(damaged)] = value
    return bytes(damaged)


changes = st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), min_size=1, max_size=4)


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(whole=changes, control=changes, inside=changes, which=st.integers(0, 2))
def test_a_damaged_package_is_read_or_refused(
    tmp_path: Path,
    whole: list[tuple[int, int]],
    control: list[tuple[int, int]],
    inside: list[tuple[int, int]],
    which: int,
) -> None:
    """Whatever byte is changed, and whether the damage is outside the compression or in it: no other exception."""
    parts = {
        "debian-binary": b"2.0\n",
        "control.tar": damage(CONTROL_TAR, control) if which == 1 else CONTROL_TAR,
        "data.tar": damage(DATA_TAR, inside) if which == 2 else DATA_TAR,
    }
    data = damage(WHOLE.data, whole) if which == 0 else make_ar(parts)
    made = Made(data=data, fields=WHOLE.fields)
    store = Store(tmp_path / "store")
    store.add(data)
    with contextlib.suppress(IntegrityError, BuildError):
        build_base_layers(DebianRoot(glibc="", python="", sources=(), packages=(made.pin(),)), store)
