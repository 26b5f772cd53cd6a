from __future__ import annotations

import pytest

from repro_env.image.debian.control import Relation, parse_relations, parse_stanza


def test_a_stanza_with_continuation_lines() -> None:
    fields = parse_stanza("Package: a\nDescription: one\n two\n .\n three\nTag:\n x,\n y\nVersion: 1:2\n")
    assert fields == {"package": "a", "description": "one\ntwo\n.\nthree", "tag": "\nx,\ny", "version": "1:2"}


@pytest.mark.parametrize("sign", ["\f", "\v", "\x1c", "\x85", "\u2028"])
def test_only_line_feeds_end_lines(sign: str) -> None:
    """Other signs that Python takes for ends of lines stand in descriptions and in names that were encoded badly."""
    assert parse_stanza(f"Maintainer: A{sign}B\r\nVersion: 1\r\n") == {"maintainer": f"A{sign}B", "version": "1"}


@pytest.mark.parametrize("text", ["no colon", " begins with a blank: x", "two words: x", ": no name"])
def test_what_is_no_field_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a control field"):
        parse_stanza(text)


def relations(text: str) -> list[list[str]]:
    return [[str(relation) for relation in group] for group in parse_relations(text, "amd64")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("a", [["a"]]),
        ("a, b | c", [["a"], ["b", "c"]]),
        ("libc6 (>= 2.34), libgcc-s1(=12.2.0-14) ", [["libc6 (>= 2.34)"], ["libgcc-s1 (= 12.2.0-14)"]]),
        ("python3:any (<< 3.12)", [["python3:any (<< 3.12)"]]),
        ("a [amd64], b [arm64], c [!amd64], d [!arm64 !i386]", [["a"], ["d"]]),
        ("a [linux-any] | b [hurd-any]", [["a"]]),
        ("a <!nocheck>, b", [["b"]]),
        ("a,\n b,", [["a"], ["b"]]),
        ("g++-12 (< 2)", [["g++-12 (< 2)"]]),
    ],
)
def test_relations(text: str, expected: list[list[str]]) -> None:
    assert relations(text) == expected


@pytest.mark.parametrize("text", ["a (>= )", "a (~ 1)", "a b", "a (>= 1_0)", "A_b", "a |"])
def test_what_is_no_relation_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a (package relation|Debian version)"):
        parse_relations(text, "amd64")


def test_a_relation_accepts_versions() -> None:
    assert Relation("a", ">=", "2").accepts("10")
    assert not Relation("a", ">=", "2").accepts("1.9")
