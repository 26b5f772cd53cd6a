from __future__ import annotations

import itertools

import pytest

from repro_env.image.debian.version import satisfies, split_version, upstream_version, version_key

# Each version is older than the next one (Debian Policy 5.6.12 and examples of real packages).
ASCENDING = (
    "0",
    "0.1~~",
    "0.1~~a",
    "0.1~",
    "0.1",
    "0.1-0ubuntu1",
    "0.1-1~bpo12+1",
    "0.1-1",
    "0.1-1+b1",
    "0.1-1+deb12u1",
    "0.1-2",
    "0.1a-1",
    "0.1+dfsg-1",
    "0.1.1-1",
    "0.9",
    "0.10",
    "1.0",
    "1:0.1",
    "1:0.1-1-2",
    "2:0",
)


@pytest.mark.parametrize(("older", "newer"), list(itertools.combinations(ASCENDING, 2)))
def test_versions_sort_as_policy_says(older: str, newer: str) -> None:
    assert version_key(older) < version_key(newer)


@pytest.mark.parametrize(("one", "other"), [("1.0", "1.0-0"), ("1.0", "0:1.0"), ("1.00", "1.0"), ("1.a", "1.a0")])
def test_what_is_written_differently_may_be_the_same_version(one: str, other: str) -> None:
    assert version_key(one) == version_key(other)


def test_parts_of_a_version() -> None:
    assert split_version("2:6.2.1+dfsg1-1.1") == (2, "6.2.1+dfsg1", "1.1")
    assert split_version("2.36") == (0, "2.36", "")
    assert split_version("1-2-3") == (0, "1-2", "3")
    assert upstream_version("3.11.2-6+deb12u8") == "3.11.2"


@pytest.mark.parametrize("text", ["", "1_0", "a:1", "1.0 ", ":1", "1.0\n", "\u0661"])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a Debian version"):
        version_key(text)


@pytest.mark.parametrize(
    ("version", "relation", "wanted", "holds"),
    [
        ("1.0", "", "", True),
        ("1.0", "<<", "1.0", False),
        ("1.0", "<=", "1.0", True),
        ("1.0", "=", "1.0-0", True),
        ("1.0~rc1", ">=", "1.0", False),
        ("1.0~rc1", ">=", "1.0~", True),
        ("1:0.5", ">>", "9", True),
        ("1.0", "<", "1.0", True),
        ("1.0", ">", "1.0", True),
    ],
)
def test_relations_between_versions(version: str, relation: str, wanted: str, holds: bool) -> None:
    assert satisfies(version, relation, wanted) is holds
