"""What `repro verify` prints: as wide as the terminal, everything said once, and how to go on all the same."""

from __future__ import annotations

import pytest

from repro_env.cli.verify_text import explanations, table
from repro_env.verify.findings import Finding, met, not_met, unknown

WIDE = 1000
NEEDED = "a driver for CUDA 12.8: 525.60.13 or newer"
COMMAND = "repro exec --allow names --allow memory --allow cuda train"
FINDINGS: dict[str, tuple[Finding, ...]] = {
    "clean": (met("platform", "linux/amd64", "linux/amd64"),),
    "train": (
        met("platform", "linux/amd64", "linux/amd64"),
        not_met("names", "H100", "GPU 0, 1 (NVIDIA L4)", hint="elsewhere"),
        not_met("memory", "40.0 GiB of GPU memory", "GPU 0, 1 (NVIDIA L4): 22.0 GiB", hint="elsewhere"),
        not_met("cuda", NEEDED, "460.32.03, which is for CUDA 11.2", "programs fail", "update the driver"),
        met("kernels", "code for compute capability 8.9", "2 libraries", "libx.so: PTX that is translated"),
    ),
}


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.mark.parametrize("width", [80, 100, 120, WIDE])
def test_the_table_is_as_wide_as_the_terminal_and_leaves_nothing_out(width: int) -> None:
    lines = list(table(FINDINGS, (), width))
    assert max(map(len, lines)) <= width
    words = " ".join(lines).split()
    for one in (one for several in FINDINGS.values() for one in several):
        assert not set(f"{one.name} {one.status} {one.needed} {one.found}".split()) - set(words)


def test_what_fits_is_a_line_each() -> None:
    assert len(list(table(FINDINGS, (), WIDE))) == 1 + sum(map(len, FINDINGS.values()))


def test_columns_stand_below_their_titles_when_folded() -> None:
    title, *rows = table({"train": FINDINGS["train"][3:4]}, (), 70)
    assert len(rows) > 1
    assert rows[0].index("a driver") == title.index("needed")
    assert rows[1].startswith(" " * title.index("needed") + "12.8")


def test_a_terminal_of_no_width_ends_no_command() -> None:
    assert list(table(FINDINGS, (), 1))
    assert list(explanations(FINDINGS, (), 10))


def test_the_same_is_said_once_and_what_is_met_may_be_worth_a_word() -> None:
    assert list(explanations(FINDINGS, (), WIDE)) == [
        "train, names, memory: hint: elsewhere",
        "train, cuda: programs fail",
        "train, cuda: hint: update the driver",
        "train, kernels: libx.so: PTX that is translated",
        f"hint: to run step train all the same, which its record will say: {COMMAND}",
    ]


def test_what_is_allowed_is_not_asked_for_again() -> None:
    assert list(explanations(FINDINGS, ("names", "memory"), WIDE))[-1].endswith(": repro exec --allow cuda train")
    assert "hint: to run" not in "".join(explanations(FINDINGS, ("names", "memory", "cuda"), WIDE))
    assert "allowed " in "\n".join(table(FINDINGS, ("names",), WIDE))


def test_what_cannot_run_is_not_offered() -> None:
    elsewhere = {"train": (not_met("platform", "linux/arm64", "x86_64", hint="lock for it"),)}
    assert list(explanations(elsewhere, (), WIDE)) == ["train, platform: hint: lock for it"]


def test_what_is_not_known_tells_what_to_do() -> None:
    found = {"train": (unknown("ecc", "ECC memory on", "GPU 0 does not tell"),)}
    assert "train, ecc: hint: allow it if you know that it is met" in list(explanations(found, (), WIDE))
