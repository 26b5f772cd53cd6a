"""Runs as text and as pages, held against files, and pages against what a page must never do."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC
from html.parser import HTMLParser

import pytest
from histories import chain, data, output, pipeline, ran, shards, taken
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repro_env.record.lineage import lineage
from repro_env.record.model import RecordedFinding, RunRecord
from repro_env.record.page.page import page
from repro_env.record.text import run_text

Golden = Callable[[str, str], None]

_EMPTY = {"meta", "link"}  # elements without an end
_REFERENCES = {"href", "src", "action", "data", "poster", "srcset", "xlink:href", "style"}


class Elements(HTMLParser):
    """Every element of a page, whether all are closed, and what they refer to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not any(name.startswith("on") for name, _value in attrs)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.references += [value or "" for name, value in attrs if name in _REFERENCES]
        if tag not in _EMPTY:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag


def check(text: str) -> Elements:
    """Hold a page against what it must never do: fetch, run, link to nowhere."""
    found = Elements(text)
    assert {"script", "iframe", "img", "object", "form", "base"}.isdisjoint(found.tags)
    assert len(found.ids) == len(set(found.ids))
    for reference in found.references:
        assert re.fullmatch(r"#run-\d+|data:,|max-width:\d+px;min-width:\d+px", reference), reference
        assert not reference.startswith("#") or reference[1:] in found.ids
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert "default-src 'none'" in text
    return found


def shown(record: RunRecord, records: Sequence[RunRecord], log: str = "") -> str:
    return page(lineage(record, records), log=log, zone=UTC)


def test_three_runs_as_text(golden: Golden) -> None:
    clean, train, report = pipeline()
    texts = [run_text(lineage(run, (clean, train)), UTC) for run in (clean, train, report)]
    golden("run-show.txt", "\n".join(texts))


def test_a_terminal_folds_long_facts_and_leaves_digests_whole() -> None:
    words = [f"--word-{number}" for number in range(30)]
    run = ran("train", command=("python", "train.py", *words))
    told = run_text(lineage(run, ()), UTC, width=80)
    lines = told.splitlines()
    assert max(len(line) for line in lines if "sha256:" not in line) <= 80
    assert all(word in told for word in words)
    assert [line for line in lines if re.search(r"sha256:[0-9a-f]{64}$", line)]
    first = next(number for number, line in enumerate(lines) if line.startswith("  command"))
    assert lines[first].index("python") == lines[first + 1].index("--word")


def test_a_run_whose_maker_is_missing_as_text(golden: Golden) -> None:
    _clean, train, _report = pipeline()
    failed = replace(train, status="failed", exit_status=None, signal=9, outputs=(), kept="output")
    golden("run-show-missing.txt", run_text(lineage(failed, ()), UTC))


def test_three_runs_as_a_page(golden: Golden) -> None:
    clean, train, report = pipeline()
    text = shown(report, (clean, train), "epoch 1\nepoch 2 <loss> & more")
    check(text)
    golden("run-page.html", text)


@pytest.mark.parametrize("number", [1, 3, 30])
def test_pages_of_any_length(number: int) -> None:
    runs = chain(number)
    found = check(shown(runs[-1], runs))
    assert found.tags.count("details") == number - 1


def test_a_wide_lineage_and_every_status() -> None:
    split, *works, merge = shards(28)
    works[0] = replace(works[0], status="failed", exit_status=1)
    works[1] = replace(works[1], status="interrupted", exit_status=None)
    works[2] = replace(works[2], status="started", exit_status=None, finished=None, resources=None)
    text = shown(merge, (split, *works[:-1]))
    check(text)
    for words in ("failed with exit status 1", "interrupted", "no record here", works[-1].id):
        assert words in text


@given(st.text(min_size=1) | st.sampled_from(["\udcff", "\u202egpj", "\x1b[2J", "$title", "${style}", "]]>", "<!--"]))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
def test_nothing_that_people_write_becomes_an_element(text: str) -> None:
    hostile = f"</td><script>alert(1)</script>\"'>&lt;{text}"
    clean = ran(hostile, inputs=(data(hostile),), outputs=(output("x", path=hostile),), command=(hostile,))
    run = ran(
        "train",
        1,
        id=hostile,
        project=hostile,
        variables={hostile: hostile},
        inputs=(taken(clean),),
        findings=(RecordedFinding(name=hostile, status="ok", needed=hostile, found=hostile),),
        kept=hostile,
        runtime=hostile,
    )
    found = check(shown(run, (clean,), log=hostile).encode().decode())
    harmless = check(
        shown(
            replace(run, project="p"),
            (ran("c", id=clean.id, inputs=(data("d"),), outputs=clean.outputs, command=("c",)),),
            log="log",
        )
    )
    assert found.tags == harmless.tags
    told = run_text(lineage(run, (clean,)), UTC)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", told)


def test_what_a_log_says_stays_in_its_lines() -> None:
    text = shown(ran("x"), (), log="one\n\x1b[31mred\x00\u202e")
    assert r"<pre>one" in text
    assert r"\x1b[31mred\x00\u202e</pre>" in text
