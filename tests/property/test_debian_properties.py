from __future__ import annotations

import itertools
import subprocess
from collections.abc import Callable

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repro_env.image.debian.control import Relation, parse_relations
from repro_env.image.debian.linker import cache_key
from repro_env.image.debian.version import OPERATORS, version_key

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
