"""What registries ask for in `WWW-Authenticate`."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repro_env.image.registry.challenge import Challenge, parse_challenges

REALM = "https://auth.example/token"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (['Basic realm="x"'], [Challenge("basic", {"realm": "x"})]),
        (["basic"], [Challenge("basic", {})]),
        (
            [f'Bearer realm="{REALM}",service="reg",scope="repository:a/b:pull,push"'],
            [Challenge("bearer", {"realm": REALM, "service": "reg", "scope": "repository:a/b:pull,push"})],
        ),
        ([f'Bearer Realm = "{REALM}" , Service=reg'], [Challenge("bearer", {"realm": REALM, "service": "reg"})]),
        (['Bearer realm="a\\"b\\\\c"'], [Challenge("bearer", {"realm": 'a"b\\c'})]),
        (
            ['Bearer realm="x", Basic realm="y"'],
            [Challenge("bearer", {"realm": "x"}), Challenge("basic", {"realm": "y"})],
        ),
        (
            ['Basic realm="y"', 'Bearer realm="x"'],
            [Challenge("basic", {"realm": "y"}), Challenge("bearer", {"realm": "x"})],
        ),
        (["Negotiate, Basic realm=y"], [Challenge("negotiate", {}), Challenge("basic", {"realm": "y"})]),
        ([""], []),
        (["="], []),
        ([], []),
    ],
)
def test_challenges_are_read(values: list[str], expected: list[Challenge]) -> None:
    assert list(parse_challenges(values)) == expected


@settings(deadline=None)
@given(st.text(max_size=60) | st.text(st.sampled_from('Ba= ,"\\x'), max_size=40))
def test_whatever_a_server_says_is_read_without_fault(text: str) -> None:
    parse_challenges([text])
