"""On which line a key stands, in nasty TOML; tomllib reads each document too, so that it is known to be valid."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from repro_env.config.lines import KeyPath, key_lines, nearest_line

MULTI = '"""'
RAW = "'''"

CASES: dict[str, tuple[list[str], dict[KeyPath, int]]] = {
    "comments and blank lines": (
        ["# [fake]", "", "  # a = 1", "a = 1 # b = 2", "\tb = 3"],
        {("a",): 4, ("b",): 5},
    ),
    "tables": (
        ["[step.clean]", "base = 1", "", "[ step . train ] # c", "base = 2", "[step]", "x = 1"],
        {
            ("step",): 1,
            ("step", "clean", "base"): 2,
            ("step", "train"): 4,
            ("step", "train", "base"): 5,
            ("step", "x"): 7,
        },
    ),
    "dotted keys": (
        ["a.b = 1", "a . c.d = 2", "[t]", "x.y.z = 3", "x.w = 4"],
        {("a",): 1, ("a", "c"): 2, ("a", "c", "d"): 2, ("t", "x"): 4, ("t", "x", "y", "z"): 4, ("t", "x", "w"): 5},
    ),
    "quoted keys": (
        ['"a.b" = 1', "'c d' = 2", '"\\u0065\\"f" = 3', '[x."y]".z]', "k = 4", '"" = 5'],
        {("a.b",): 1, ("c d",): 2, ('e"f',): 3, ("x", "y]", "z"): 4, ("x", "y]", "z", "k"): 5, ("x", "y]", "z", ""): 6},
    ),
    "strings that look like TOML": (
        ['a = "b = 1 # [c] \\" \\\\"', "d = '[e] \\'", "f = 1"],
        {("a",): 1, ("d",): 2, ("f",): 3},
    ),
    "multi-line strings": (
        [f"a = {MULTI}", "[no]", 'b = "x"', f'\\{MULTI} "" ""{MULTI}', f"c = {RAW}", "[no]", f"''{RAW}", "d = 1"],
        {("a",): 1, ("c",): 5, ("d",): 8},
    ),
    "empty multi-line strings": (
        [f"a = {MULTI}{MULTI}", f"b = {RAW}{RAW}", 'c = ""', "d = ''", "e = 1"],
        {("a",): 1, ("b",): 2, ("c",): 3, ("d",): 4, ("e",): 5},
    ),
    "multi-line arrays": (
        ["a = [ # ] no", '  "x", # "y",', "", f"  {MULTI}p", f"q]{MULTI}", "  , [", "    1, 2,", "  ],", "]", "b = 1"],
        {("a", 0): 2, ("a", 1): 4, ("a", 2): 6, ("a", 2, 1): 7, ("b",): 10},
    ),
    "inline tables": (
        ['a = { b = "}", "c.d" = [ { e = 1 },', "  { f.g = 2 } ], h = {} }", "i = 1"],
        {("a", "b"): 1, ("a", "c.d", 0, "e"): 1, ("a", "c.d", 1, "f", "g"): 2, ("a", "h"): 2, ("i",): 3},
    ),
    "arrays of tables": (
        [
            "[[p]]",
            "n = 1",
            "[[p]]",
            "n = 2",
            "[p.x]",
            "k = 3",
            "[[p.y]]",
            "[[p.y]]",
            "k = 4",
            "[[p]]",
            "[[p.y]]",
            "k = 5",
        ],
        {
            ("p",): 1,
            ("p", 0, "n"): 2,
            ("p", 1): 3,
            ("p", 1, "x", "k"): 6,
            ("p", 1, "y", 1, "k"): 9,
            ("p", 2, "y", 0): 11,
            ("p", 2, "y", 0, "k"): 12,
        },
    ),
    "values of every kind": (
        ["a = 1979-05-27 07:32:00 # x", "b = 6.26e-34", "c = 0xDEADBEEF", "d = [true,-inf,07:32:00]", "e = nan"],
        {("a",): 1, ("b",): 2, ("c",): 3, ("d", 2): 4, ("e",): 5},
    ),
}


@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("name", CASES)
def test_every_key_is_found_on_its_line(name: str, newline: str) -> None:
    lines, expected = CASES[name]
    text = newline.join(lines)
    found = key_lines(text)
    assert {path: found.get(path) for path in expected} == expected
    assert set(found) == _paths(tomllib.loads(text))


def test_a_document_that_ends_early_gives_what_could_be_read() -> None:
    assert key_lines('a = 1\nb = [1, "x')[("a",)] == 1
    assert key_lines("= 3\na = 1") == {("a",): 2}
    assert key_lines("a = 1\n]]") == {("a",): 1}
    assert key_lines("") == {}


def test_a_missing_key_gets_the_line_of_its_table() -> None:
    lines = key_lines("[step.clean]\nbase = 1\n")
    assert nearest_line(lines, ("step", "clean", "python")) == 1
    assert nearest_line(lines, ("step", "clean", "base", 3)) == 2
    assert nearest_line(lines, ("base",)) == 0
    assert nearest_line(lines, ()) == 0


def test_a_byte_order_mark_is_no_key() -> None:
    assert key_lines("\ufeffa = 1\nb = 2") == {("a",): 1, ("b",): 2}


def test_values_nested_too_deeply_to_be_followed_cost_no_more_than_their_lines() -> None:
    assert key_lines("a = 1\nb = " + "[" * 9000 + "]" * 9000)[("a",)] == 1


def _paths(value: Any, above: KeyPath = ()) -> set[KeyPath]:
    """Return the path of everything in a parsed document."""
    found: set[KeyPath] = {above} - {()}
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found |= _paths(inner, (*above, key))
    return found
