"""What differed between two runs, cause first."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import locks
import pytest
from histories import HOST, START, by_id, chain, data, output, pipeline, ran, taken
from hypothesis import given, settings
from hypothesis import strategies as st

from repro_env.lock.model import Lock
from repro_env.record.code import CodeChange
from repro_env.record.definition import _is_of
from repro_env.record.difference import Content, Evidence
from repro_env.record.differences import Comparison, Witness, compare, first_causes, headline
from repro_env.record.differences_text import comparison_document, comparison_text
from repro_env.record.model import GitState, Machine, RecordedGpu, Resources, RunRecord
from repro_env.values import Digest

Golden = Callable[[str, str], None]

OLD, NEW = Digest.of(b"old"), Digest.of(b"new")
CHANGED = CodeChange(path="clean.py", change="changed", added=2, removed=1)


def compared(
    before: RunRecord,
    after: RunRecord,
    *others: RunRecord,
    code: Sequence[CodeChange] | None = (),
    known: Mapping[str, Lock] | None = None,
    files: Sequence[str] = (),
) -> Comparison:
    records = by_id((before, after, *others))

    def told(_before: Content, _after: Content) -> Sequence[str]:
        return files

    witness = Witness(
        run=records.get,
        evidence=lambda record: Evidence(record=record, lock=(known or {}).get(record.id)),
        code=lambda _before, _after: code,
        files=told,
    )
    return compare(before, after, witness)


def pair(step: str = "clean", **changes: Any) -> tuple[RunRecord, RunRecord]:
    """Return two runs of a step that took the same and made something else; the second has the changes."""
    before = ran(step, inputs=(data("raw"),), outputs=(output("table", "one"),), definition=OLD)
    return before, replace(
        ran(step, 9, inputs=before.inputs, outputs=(output("table", "two"),), definition=OLD), **changes
    )


def causes(found: Comparison) -> list[str]:
    return [f"{cause.kind}: {cause}" for cause in found.causes]


def test_two_runs_alike_do_not_differ() -> None:
    before, after = pair(outputs=(output("table", "one"),))
    found = compared(before, after)
    assert not found.differs
    assert headline(found) == "nothing that is recorded differs"
    assert found.same_outputs == ("table",)


def test_a_run_and_itself() -> None:
    before, _after = pair()
    assert headline(compared(before, before)) == "that is one and the same run"


def test_other_outputs_of_the_same_are_a_step_that_is_not_deterministic() -> None:
    found = compared(*pair())
    assert found.differs
    assert "is not deterministic: nothing that is recorded differs" in headline(found)


def test_code_that_changed() -> None:
    git = GitState(commit="2e" * 20, dirty=False)
    found = compared(*pair(definition=NEW, git=git), code=[CHANGED])
    assert causes(found) == ["code: commit 1f1f1f1f1f1f -> 2e2e2e2e2e2e", "code: clean.py changed (+2 -1)"]
    assert headline(found) == "table differs because clean.py of step clean changed (+2 -1)"


@pytest.mark.parametrize(
    ("change", "reason"),
    [("new", "clean.py of step clean is new (+2 -1)"), ("removed", "clean.py of step clean was removed (+2 -1)")],
)
def test_code_that_came_or_went(change: str, reason: str) -> None:
    found = compared(*pair(definition=NEW), code=[replace(CHANGED, change=change)])
    assert headline(found) == f"table differs because {reason}"


def test_a_commit_that_leaves_the_step_as_it_is_is_only_noted() -> None:
    git = GitState(commit="2e" * 20, dirty=False)
    found = compared(*pair(git=git, outputs=(output("table", "one"),)), code=[CHANGED])
    assert not found.differs
    assert found.notes == ("the step's code is the same, although the commit is another: 1f1f1f1f1f1f -> 2e2e2e2e2e2e",)


def test_commits_that_are_not_here() -> None:
    git = GitState(commit="2e" * 20, dirty=True, diff=Digest.of(b"diff"))
    found = compared(*pair(definition=NEW, git=git), code=None)
    [cause] = found.causes
    assert str(cause) == f"commit 1f1f1f1f1f1f -> 2e2e2e2e2e2e with changes {Digest.of(b'diff').short}"
    assert "cannot be told" in cause.details[0]
    assert headline(found).startswith("table differs because clean had commit 2e2e2e2e2e2e with")


def test_commits_that_are_not_here_explain_nothing_where_something_else_does() -> None:
    git = GitState(commit="2e" * 20, dirty=False)
    found = compared(*pair(definition=NEW, git=git, inputs=(data("raw", "more"),)), code=None)
    assert [cause.kind for cause in found.causes] == ["code", "data"]
    assert headline(found) == "table differs because data raw is another"


def test_a_definition_that_differs_for_no_reason_that_is_recorded() -> None:
    found = compared(*pair(definition=NEW, git=None), code=None)
    assert causes(found)[0].startswith("code: commit 1f1f1f1f1f1f -> none")
    before, after = pair(definition=NEW)
    found = compared(replace(before, git=None), replace(after, git=None), code=None)
    assert causes(found) == [f"code: definition {OLD.short} -> {NEW.short}"]


def test_packages_and_base_that_changed() -> None:
    old = locks.churn()
    step = old.steps["clean"]
    new = replace(old, steps={**old.steps, "clean": _upgraded(step), "train": _upgraded(old.steps["train"])})
    before, after = pair(definition=NEW, lock=NEW)
    found = compared(before, after, known={before.id: old, after.id: new})
    name = step.environments[locks.AMD64].wheels[0].name
    assert causes(found) == [f"packages: {name} {_version(old)} -> 99.0", "packages: + aaa 1.0"]
    reason = f"clean had {name} 99.0 instead of {_version(old)}"
    assert headline(found) == f"table differs because {reason}, and 1 more difference"


def _upgraded(step: Any) -> Any:
    def upgraded(environment: Any) -> Any:
        first, *rest = environment.wheels
        wheels = (locks.wheel("aaa", "1.0"), replace(first, version="99.0"), *rest)
        return replace(environment, wheels=wheels, image=None)

    return replace(step, environments={key: upgraded(value) for key, value in step.environments.items()})


def _version(lock: Lock) -> str:
    return lock.steps["clean"].environments[locks.AMD64].wheels[0].version


def test_a_lock_that_differs_elsewhere_is_no_cause() -> None:
    old = locks.churn()
    new = replace(old, steps={**old.steps, "train": _upgraded(old.steps["train"])})
    before, after = pair(lock=NEW, outputs=(output("table", "one"),))
    assert not compared(before, after, known={before.id: old, after.id: new}).differs


def test_a_lock_that_is_not_kept() -> None:
    found = compared(*pair(lock=NEW))
    assert causes(found) == [f"settings: repro.lock {Digest.of(b'lock').short} -> {NEW.short}"]


def test_images_that_differ_although_nothing_else_does() -> None:
    found = compared(*pair(image=NEW))
    assert [cause.kind for cause in found.causes] == ["image"]


def test_data_file_by_file() -> None:
    found = compared(*pair(inputs=(data("raw", "more"),)), files=["a.csv is new"])
    [cause] = found.causes
    assert (cause.kind, cause.what, cause.details) == ("data", "raw", ("a.csv is new",))
    assert headline(found) == "table differs because data raw is another"


def test_a_script_that_declares_its_own_packages() -> None:
    """Its file changes with them, and says less of why."""
    old = locks.churn()
    step = old.steps["clean"]
    new = replace(old, steps={**old.steps, "clean": _upgraded(step)})
    before, after = pair(definition=NEW, lock=NEW)
    found = compared(before, after, code=(CHANGED,), known={before.id: old, after.id: new})
    name = step.environments[locks.AMD64].wheels[0].name
    assert headline(found) == (
        f"table differs because clean.py of step clean changed (+2 -1), clean had {name} 99.0 instead of "
        f"{_version(old)}, and 1 more difference"
    )


def test_data_that_came_went_or_changed_meanwhile() -> None:
    found = compared(*pair(inputs=(replace(data("more"), changed=True),)))
    run = found.after.id
    assert [text.split(" (")[0] for text in causes(found)] == [
        f"data: - raw {Digest.of(b'raw').short}",
        f"data: + more {Digest.of(b'more').short}",
        f"data: more changed while run {run} read it",
    ]


def test_parameters() -> None:
    before, after = pair(variables={"SEED": "8", "NEW": "1"}, environment=("HOME", "LANG", "NEW", "PATH", "SEED", "X"))
    before = replace(before, variables={"SEED": "7"}, environment=("HOME", "LANG", "PATH", "SEED"))
    assert causes(compared(before, after)) == [
        "parameters: + NEW 1",
        "parameters: SEED 7 -> 8",
        "parameters: + variables of the environment X",
    ]
    assert headline(compared(before, after)) == "table differs because clean had NEW 1, and 2 more differences"


def test_arguments_where_the_locks_are_known_and_commands_where_not() -> None:
    before, after = pair(command=("python", "clean.py", "-v"), arguments=("-v",))
    assert causes(compared(before, after)) == ["parameters: command python clean.py -> python clean.py -v"]
    lock = locks.churn()
    found = compared(before, after, known={before.id: lock, after.id: lock})
    assert causes(found) == ["parameters: + arguments -v"]


def test_a_command_names_its_own_run() -> None:
    before, after = pair(outputs=(output("table", "one"),))
    before, after = (replace(one, command=("python", f"/runs/{one.id}/output")) for one in (before, after))
    assert not compared(before, after).differs


def test_machines_and_runtimes() -> None:
    gpu = RecordedGpu(index=0, name="A100", uuid="GPU-1", memory=40 * 2**30)
    before, after = pair(
        machine=Machine(driver="570", gpus=(replace(gpu, name="H100"),)), host=replace(HOST, cpus=8), runtime="docker"
    )
    before = replace(before, machine=Machine(driver="550", gpus=(gpu,)))
    assert causes(compared(before, after)) == [
        "machine: GPUs 1 of A100 (40.0 GiB) -> 1 of H100 (40.0 GiB)",
        "machine: driver 550 -> 570",
        "machine: number of processors 16 -> 8",
        "runtime: runtime bwrap -> docker",
    ]


def test_another_gpu_of_the_same_kind_comes_last() -> None:
    gpu = RecordedGpu(index=0, name="A100", uuid="GPU-1")
    before, after = pair(machine=Machine(gpus=(replace(gpu, uuid="GPU-2"),)))
    before = replace(before, machine=Machine(gpus=(gpu,)))
    assert causes(compared(before, after)) == ["machine: GPU of that kind GPU-1 -> GPU-2"]


def test_what_is_used_makes_no_difference() -> None:
    before, after = pair(outputs=(output("table", "one"),), resources=Resources(wall_seconds=9, peak_memory=1))
    found = compared(before, after)
    assert not found.differs
    assert [str(one) for one in found.resources] == [
        "took 4.5 s -> 9.0 s, 2.0 times as long",
        "most memory 256.0 MiB -> 1 B",
    ]


def test_another_end_is_a_difference() -> None:
    found = compared(*pair(status="failed", exit_status=3, outputs=()), code=[])
    assert str(found.outputs[0]) == "outcome succeeded -> failed with exit status 3"
    assert str(found.outputs[1]).startswith("- table")


def test_runs_of_two_steps() -> None:
    before, after = pair()
    assert causes(compared(before, replace(after, step="tidy")))[0] == "step: step clean -> tidy"


# Upstream


def again(runs: Sequence[RunRecord], content: str) -> list[RunRecord]:
    """Return a chain run again with another first output, each passing the difference on."""
    made: list[RunRecord] = []
    for number, run in enumerate(runs):
        inputs = (taken(made[-1]),) if made else run.inputs
        outputs = (replace(run.outputs[0], digest=Digest.of(f"{content} {number}".encode())),)
        made.append(replace(ran(run.step, 30 + number), inputs=inputs, outputs=outputs, definition=run.definition))
    return made


def test_the_first_cause_is_upstream() -> None:
    runs = chain(3)
    other = again(runs, "other")
    other[0] = replace(other[0], runtime="docker")
    found = compared(runs[2], other[2], *runs, *other)
    assert headline(found) == "o2 differs because s0 had runtime docker instead of bwrap"
    assert found.causes == ()
    [upstream] = found.upstream
    assert upstream.input == "s1.o1"
    assert upstream.comparison is not None
    assert upstream.comparison.upstream[0].comparison is not None


def test_an_upstream_step_that_is_not_deterministic() -> None:
    runs = chain(2)
    other = again(runs, "other")
    found = compared(runs[1], other[1], *runs, *other)
    assert headline(found).startswith("o1 differs because s0 is not deterministic: nothing")


def test_an_upstream_record_that_is_missing() -> None:
    runs = chain(2)
    other = again(runs, "other")
    found = compared(runs[1], other[1], runs[0])
    [upstream] = found.upstream
    assert upstream.comparison is None
    assert upstream.why == f"it was made by {other[0].id}, whose record is not here"
    assert (
        headline(found) == f"o1 differs: s0.o0 is another, and it was made by {other[0].id}, whose record is not here"
    )


def test_upstream_runs_that_made_the_same_are_not_looked_at() -> None:
    runs = chain(2)
    twin = replace(runs[0], id="twin", runtime="docker")
    after = replace(runs[1], id="after", inputs=(replace(runs[1].inputs[0], run="twin"),))
    assert not compared(runs[1], after, runs[0], twin).differs


def test_records_that_go_in_a_circle() -> None:
    runs = chain(2)
    other = again(runs, "other")
    runs = (replace(runs[0], inputs=(taken(runs[1]),)), runs[1])
    other[0] = replace(other[0], inputs=(taken(other[1]),))
    other[1] = replace(other[1], inputs=(taken(other[0]),))
    found = compared(runs[1], other[1], *runs, *other)
    assert first_causes(found) == ()
    assert comparison_text(found)
    assert comparison_document(found)["differs"]


def test_a_chain_longer_than_the_stack_is_compared_as_far_as_a_person_reads() -> None:
    runs = chain(2000)
    again = [
        replace(
            run,
            id=f"{run.id}x",
            inputs=tuple(replace(one, run=one.run and f"{one.run}x", digest=NEW) for one in run.inputs),
        )
        for run in runs
    ]
    found = compared(runs[-1], again[-1], *runs, *again)
    assert found.differs
    assert "is another, and what is more than 64 runs upstream is not compared" in headline(found)
    assert "what is more than 64 runs upstream is not compared" in comparison_text(found)
    assert json.dumps(comparison_document(found))


def test_a_diamond_is_told_once(golden: Golden) -> None:
    def history(number: int, **changes: Any) -> tuple[RunRecord, ...]:
        first = ran("first", number, inputs=(data("raw"),), outputs=(output("x", f"x{number}"),), **changes)
        sides = [
            ran(side, number + 1, inputs=(taken(first),), outputs=(output(side, f"{side}{number}"),))
            for side in ("left", "right")
        ]
        joined = ran("join", number + 2, inputs=tuple(map(taken, sides)), outputs=(output("all", f"all{number}"),))
        return (*sides, first, joined)

    old, new = history(0), history(30, variables={"SEED": "2"}, started=START)
    found = compared(old[-1], new[-1], *old, *new)
    text = comparison_text(found)
    assert text.count("SEED") == 2  # in the headline and in its place
    assert "(see above)" in text
    golden("diff-diamond.txt", text)


def test_all_that_may_differ_as_text(golden: Golden) -> None:
    clean, train, _report = pipeline()
    later_clean, later, _rest = pipeline()
    later_clean = replace(
        later_clean,
        id="20261124T043354Z-clean-0100",
        inputs=(data("raw", "another"),),
        outputs=(output("table", "another"),),
    )
    later = replace(
        later,
        id="20261124T043854Z-train-0105",
        inputs=(taken(later_clean),),
        outputs=(output("model", "another", path="build/model.pt"), later.outputs[1]),
        variables={"SEED": "8"},
        definition=NEW,
        resources=Resources(wall_seconds=45, peak_memory=2**33),
    )
    files = [f"part{number}.csv is new" for number in range(12)]
    found = compared(train, later, clean, later_clean, code=[replace(CHANGED, path="train.py")], files=files)
    golden("diff-runs.txt", comparison_text(found))


CHANGES: tuple[dict[str, Any], ...] = (
    {"status": "failed", "exit_status": 1, "outputs": ()},
    {"status": "started", "finished": None, "resources": None},
    {"git": None},
    {"git": GitState(commit="3d" * 20, dirty=True, omitted=("big: too big",))},
    {"host": None},
    {"lock": None},
    {"definition": NEW},
    {"definition": None},
    {"image": None, "runtime": "venv"},
    {"inputs": ()},
    {"inputs": (data("other"), replace(data("raw"), changed=True))},
    {"outputs": (output("second"),)},
    {"machine": Machine(driver="570")},
    {"variables": {"A": "\x1b[2J"}},
    {"waived": ("memory",)},
    {"step": "tidy"},
    {"program": "9"},
)


@given(st.lists(st.sampled_from(CHANGES), max_size=4), st.lists(st.sampled_from(CHANGES), max_size=4), st.booleans())
@settings(deadline=None)
def test_any_two_runs_can_be_compared_either_way(
    old: list[dict[str, Any]], new: list[dict[str, Any]], known: bool
) -> None:
    before, after = pair()
    for changes in old:
        before = replace(before, **changes)
    for changes in new:
        after = replace(after, **changes)
    code = [CHANGED] if known else None
    there, back = compared(before, after, code=code), compared(after, before, code=code)
    assert there.differs == back.differs
    assert {cause.kind for cause in there.causes} == {cause.kind for cause in back.causes}
    assert [cause.what for cause in compared(before, replace(before, id="twin"), code=()).causes] in (
        [],
        ["raw", "raw"],
    )
    text = comparison_text(there)
    assert "\x1b" not in text
    assert json.loads(json.dumps(comparison_document(there)))["differs"] == there.differs


# Which files are a step's


@pytest.mark.parametrize(
    ("globs", "path", "is_code"),
    [
        (None, "anything/at all.py", True),
        (None, "repro.lock", False),
        (("clean.py",), "clean.py", True),
        (("clean.py",), "clean.pyc", False),
        (("src",), "src/deep/er.py", True),
        (("./src/",), "src/a.py", True),
        (("src",), "src2/a.py", False),
        (("*.py",), "sub/a.py", False),
        (("**/*.py",), "sub/deep/a.py", True),
        (("**/*.py",), "a.py", True),
        (("src/**",), "src/x/y", True),
        (("data?.[ch]",), "data1.c", True),
        (("data?.[!ch]",), "data1.c", False),
        ((".",), "all/of it", True),
        ((), "a.py", False),
    ],
)
def test_a_file_is_of_a_step_that_names_it(globs: tuple[str, ...] | None, path: str, *, is_code: bool) -> None:
    step = replace(locks.churn().steps["clean"], code=globs)
    assert _is_of(path, step) == is_code
