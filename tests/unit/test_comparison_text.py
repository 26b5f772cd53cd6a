from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro_env.config.comparison import Comparison, canonical_comparison
from repro_env.config.read import read_project

PROJECT = """
[project]
name = "p"
[base.slim]
debian = "bookworm"
[step.s]
base = "slim"
python = "3.11"
command = ["true"]
outputs = { a = "a.csv", b = { path = "./b.npz", compare = "numeric:rtol=1e-6" }, c = { path = "c", keep = true } }
"""


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("exact", "exact"),
        (" numeric ", "numeric"),
        ("numeric: rtol=0.000001,atol = 1e-9", "numeric: rtol=1e-06, atol=1e-09"),
        ("numeric: rtol=0", "numeric"),
        ("parquet: order=any", "parquet: order=any"),
        ("json: ignore=a.b, rtol=1, ignore=*.seconds", "json: rtol=1.0, ignore=a.b, ignore=*.seconds"),
        ("image: ssim >= 0.99", "image: ssim>=0.99"),
        ("command: python  same.py '{a}' {b}", "command: python same.py '{a}' '{b}'"),
    ],
)
def test_each_comparison_has_one_spelling(text: str, canonical: str) -> None:
    assert canonical_comparison(text) == canonical
    assert canonical_comparison(canonical) == canonical


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("numerical", 'there is no comparison "numerical" (did you mean numeric?)'),
        ("numeric:", 'nothing follows the colon of "numeric:"'),
        ("numeric: rtol", '"rtol" is not an option such as "rtol=1e-6"'),
        ("numeric: rtol", "rtol"),
        ("numeric: rtol=-1", 'rtol: expected a number from 0 up, found "-1"'),
        ("numeric: rtol=nan", 'rtol: expected a number from 0 up, found "nan"'),
        ("numeric: rtol=1, rtol=2", '"rtol" is given twice'),
        ("numeric: order=any", '"numeric" has no option "order"'),
        ("parquet: order=none", 'order: expected "any", found "none"'),
        ("json: ignore=a..b", 'ignore: expected a key path such as "timing.seconds", found "a..b"'),
        ("exact: rtol=1", '"exact" has no option "rtol"'),
        ("image", "say how similar"),
        ("image: ssim>=2", 'ssim: expected a number from 0 to 1, found "2"'),
        ("image: ssim=0.9", '"ssim=0.9" is not an option such as "ssim>=0.99"'),
        ("command: diff {a}", "the command does not hold {b}"),
        ("command: diff '{a} {b}", "cannot be split into words"),
    ],
)
def test_what_is_no_comparison_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        Comparison.parse(text)
    assert message in str(caught.value)


tolerances = st.floats(min_value=0, allow_nan=False, allow_infinity=False)


@given(rtol=tolerances, atol=tolerances, any_order=st.booleans())
def test_what_is_written_reads_back(rtol: float, atol: float, any_order: bool) -> None:
    comparison = Comparison(method="parquet", rtol=rtol, atol=atol, any_order=any_order)
    assert Comparison.parse(str(comparison)) == comparison


def test_an_output_is_a_path_or_a_table() -> None:
    step = read_project(PROJECT, file="repro.toml").steps["s"]
    assert step.outputs == {"a": "a.csv", "b": "b.npz", "c": "c"}
    assert step.keep == ("c",)
    assert step.compare == {"b": "numeric: rtol=1e-06"}
