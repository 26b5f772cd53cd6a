"""The small parts of reading a project: order, placeholders, key paths, hints."""

from __future__ import annotations

import pytest

from repro_env.config.checks import requirement
from repro_env.config.order import CycleError, dependency_order
from repro_env.config.placeholders import misspelled, placeholders, spell, substitute, variable
from repro_env.config.problems import did_you_mean, key_text
from repro_env.lock.places import IMAGE_ROOTS, expand, input_place, output_place


def test_dependencies_come_first_and_the_rest_keeps_its_order() -> None:
    assert dependency_order({"c": ["a"], "b": [], "a": ["x"]}) == ("a", "c", "b")
    assert dependency_order({}) == ()


@pytest.mark.parametrize(
    ("upstream", "cycle"),
    [
        ({"a": ["a"]}, ("a", "a")),
        ({"x": ["a"], "a": ["b"], "b": ["c"], "c": ["a"]}, ("a", "b", "c", "a")),
    ],
)
def test_a_cycle_is_named_without_what_only_leads_to_it(upstream: dict[str, list[str]], cycle: tuple[str, ...]) -> None:
    with pytest.raises(CycleError) as caught:
        dependency_order(upstream)
    assert caught.value.cycle == cycle


def test_a_long_chain_is_no_problem() -> None:
    chain = {f"s{number}": [f"s{number + 1}"] for number in range(5000)}
    assert dependency_order(chain)[0] == "s4999"


def test_placeholders() -> None:
    word = "--x={data.a-b}:{output.t@s}{output.t} {data.x@y} {data} {{output.u}} ${HOME} {outputs.t}"
    found = [("input", "a-b"), ("input", "s.t"), ("output", "t"), ("output", "u")]
    assert list(placeholders(word)) == found
    assert [spell(*reference) for reference in found] == ["{data.a-b}", "{output.t@s}", "{output.t}", "{output.u}"]
    assert list(misspelled(word)) == ["{data.x@y}", "{outputs.t}"]
    assert substitute("a{data.x}b{output.y}", lambda kind, name: f"<{kind} {name}>") == "a<input x>b<output y>"


def test_a_command_with_its_places() -> None:
    inputs = {"raw": input_place(IMAGE_ROOTS, "raw", "data/raw.csv")}
    outputs = {"t": output_place(IMAGE_ROOTS, "build/t.parquet")}
    assert expand(["run", "{data.raw}>{output.t}", "{x}"], inputs=inputs, outputs=outputs) == (
        "run",
        "/repro/input/raw/raw.csv>/repro/output/build/t.parquet",
        "{x}",
    )
    with pytest.raises(KeyError):
        expand(["{data.other}"], inputs=inputs, outputs=outputs)
    assert variable("DATA", "clean.my-table") == "REPRO_DATA_CLEAN_MY_TABLE"


def test_key_paths_as_people_write_them() -> None:
    assert key_text(("step", "clean", "inputs", 0)) == "step.clean.inputs[0]"
    assert key_text(("a b", 'c"d\\', "")) == '"a b"."c\\"d\\\\".""'
    assert key_text(()) == ""


def test_hints() -> None:
    assert did_you_mean("pyhton", ["base", "python"]) == "did you mean python?"
    assert did_you_mean("zzz", ["base", "python"]) == "known are base, python"
    assert did_you_mean("zzz", []) == ""


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "A.b-c_d",
        "a==1.0",
        "a ~= 1.0, != 1.0.3",
        "a>=1,<2,",
        "a (>=1,<2)",
        "a[b,c-d] >=1!2.0+cu128",
        "a[]==1.*",
        "a===weird/version",
        "a ; python_version < '3.12' and sys_platform == 'linux'",
        "a[x] @ https://files.example/a-1.0-py3-none-any.whl#sha256=0 ; extra == 'y'",
        "a @ git+https://host.example/a.git@main",
        "a@file:///x",
        "  a  ",
    ],
)
def test_requirements_that_pass(text: str) -> None:
    requirement(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "a=1", "a==", "a b", "a >=1 <2", "-e .", "./a", "https://x/a.whl", "a;", "a[b", "_a"),
        pytest.param(f"a{' ' * 20_000}!", id="spaces"),  # in no time
    ],
)
def test_requirements_that_do_not(text: str) -> None:
    with pytest.raises(ValueError, match="is not a requirement"):
        requirement(text)
