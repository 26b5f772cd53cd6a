"""The door for a lock's text: what is let in, and the message for everything that is not."""

from __future__ import annotations

import re
from dataclasses import replace

import locks
import pytest

from repro_env.errors import LockError
from repro_env.lock.dump import dump_lock
from repro_env.lock.model import Environment, Lock, Wheel
from repro_env.lock.parse import parse_lock
from repro_env.values import Digest

TEXT = dump_lock(locks.churn())
NUMPY = "numpy==1.26.4 sha256:33a57cffbd04"


def refusal(text: str) -> LockError:
    with pytest.raises(LockError) as caught:
        parse_lock(text)
    return caught.value


def place(old: str, new: str) -> str:
    """Return what is told of the lock with its first `old` replaced, without file and line."""
    assert old in TEXT, old
    return refusal(TEXT.replace(old, new, 1)).why.removeprefix("repro.lock:").lstrip("0123456789: ")


def test_a_lock_comes_back_whole() -> None:
    assert parse_lock(TEXT) == locks.churn()
    assert dump_lock(parse_lock(TEXT)) == TEXT


def test_order_and_layout_of_the_text_do_not_matter() -> None:
    head, *tables = re.split(r"\n\n(?=\[)", TEXT.rstrip("\n"))
    moved = "\n\n".join([head, *reversed(tables)]).replace(" = ", "=").replace("\n", "\r\n")
    assert parse_lock(moved) == locks.churn()
    assert dump_lock(parse_lock(moved)) == TEXT


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("version = 1\n", "", "version: missing"),
        ("version = 1", 'version = "1"', "version: expected a number, found a string"),
        ("version = 1", "version = 0", "version: expected 1, found 0"),
        ("[inputs]", "[input]", "inputs: missing"),
        ('project = "churn"', 'project = "Churn"', "project: 'Churn' is not a name"),
        ('"base.slim" = "sha256:', '"base.slim" = "sha512:', 'inputs."base.slim": expected sha256:HEX'),
        ('"base.slim" = ', '"base.slum" = ', 'inputs."base.slum": nothing in the lock is called so'),
        ('suite = "bookworm"\n', 'suite = "bookworm"\nsize = 3\n', "base.slim.size: unknown key"),
        ('[base.slim."linux/amd64"]', '[base.slim."linux/s390x"]', 'base.slim."linux/s390x": unknown platform'),
        ("glibc = ", "libc = ", 'base.slim."linux/amd64".glibc: missing'),
        ("20250131T120000Z", "2025-01-31", 'base.slim."linux/amd64".sources[0].date: expected a date such as'),
        (
            'name = "libgomp1"',
            "name = 1",
            'base.slim."linux/amd64".packages[1].name: expected a string, found a number',
        ),
        ("extra = true", "extra = 1", 'base.slim."linux/amd64".packages[1].extra: expected a boolean, found a number'),
        ('name = "numpy"', 'name = "Num_py"', 'package[0].name: expected the normalised name "num-py"'),
        ("numpy-1.26.4-py3", "../numpy-1.26.4-py3", "package[0].file: expected a wheel's file name"),
        ('sha256 = "33a57', 'sha256 = "33A57', "package[0].sha256: not a SHA-256 digest"),
        ("size = 1029", "size = -1", "package[0].size: expected a number from 0 up, found -1"),
        ("size = 1029", "size = true", "package[0].size: expected a number, found a boolean"),
        ("[step.clean]", "[step.Clean]", "step.Clean: 'Clean' is not a name"),
        ('base = "slim"', 'base = "slum"', "step.clean.base: there is no [base.slum]"),
        ('python = "3.11"\ncommand', 'python = "3"\ncommand', "step.clean.python: expected a minor version"),
        ('"clean.py", "{data', '1, "{data', "step.clean.command[1]: expected a string, found a number"),
        ("command = [", "commands = [", "step.clean.command: missing"),
        ('inputs = ["raw"]', 'inputs = ["rw"]', 'step.clean.inputs[0]: nothing in the lock is called "rw"'),
        ('["clean.table"]', '["clean.tabel"]', 'step.train.inputs[0]: nothing in the lock is called "clean.tabel"'),
        ('"build/table.parquet"', '"../table"', 'step.clean.outputs.table: "../table" leads out of the project'),
        ('code = ["clean.py"]', 'code = ["../x"]', 'step.clean.code[0]: "../x" leads out of the project'),
        ("{ table =", "{ Table =", "step.clean.outputs.Table: 'Table' is not a name"),
        ("{ A =", '{ "A=" =', 'step.train.env."A=": not the name of an environment variable'),
        ('"train.py"', '"\\u0000"', "step.train.command[1]: a NUL character"),
        (
            'version = "2.36-9+deb12u9"',
            'version = "2\\nX"',
            'base.slim."linux/amd64".packages[0].version: expected a pack',
        ),
        ("network = true", "network = 1", "step.train.network: expected a boolean, found a number"),
        ("env = {", "envs = {", "step.train.envs: expected"),
        ("layout = 1", "layout = 1.0", 'step.clean."linux/amd64".layout: expected a number, found a decimal number'),
        (
            'interpreter = "3.11.2"',
            'interpreter = "3.12.2"',
            'step.clean."linux/amd64".interpreter: expected a version',
        ),
        (f'"{NUMPY}"', '"numpy==1.26.4"', 'step.clean."linux/amd64".packages[0]: "numpy==1.26.4" has no [[package]]'),
        ('kind = "directory"', 'kind = "socket"', "data.raw.kind: expected file or directory, found 'socket'"),
        ('path = "data/raw"', 'path = "/data"', 'data.raw.path: "/data" is absolute'),
        ("[data.raw]", "[dota.raw]", "dota: unknown key"),
    ],
)
def test_whatever_is_wrong_is_named_with_its_place(old: str, new: str, message: str) -> None:
    assert place(old, new).startswith(message)


def test_the_whole_message() -> None:
    text = TEXT.replace('base = "slim"', 'base = "slum"', 1)
    line = text.split("\n").index('base = "slum"') + 1
    assert str(refusal(text)) == (
        "repro.lock is damaged\n"
        f"  repro.lock:{line}: step.clean.base: there is no [base.slum]\n"
        "hint: restore it from version control, or remove it and run repro lock"
    )


@pytest.mark.parametrize(("key", "known"), [("version", 1), ("layout", 1)])
def test_a_newer_version_is_refused_by_name(key: str, known: int) -> None:
    error = refusal(TEXT.replace(f"{key} = {known}", f"{key} = {known + 1}", 1) + "\n[new-thing]\n")
    if key == "version":
        assert str(error) == (
            "repro.lock was written by a newer repro: version 2, this one knows 1\n"
            "hint: upgrade it: pip install --upgrade repro-env"
        )
    assert error.what == f"repro.lock was written by a newer repro: {key} {known + 1}, this one knows {known}"


def test_a_merge_conflict_is_recognised() -> None:
    ours = '<<<<<<< HEAD\nproject = "churn"\n=======\nproject = "other"\n>>>>>>> topic'
    assert str(refusal(TEXT.replace('project = "churn"', ours))) == (
        "repro.lock holds an unresolved merge conflict\n"
        "  repro.lock:3: <<<<<<< is git's mark of a conflict\n"
        "hint: take either side, such as with git checkout --ours repro.lock, then run repro lock"
    )


def test_a_lock_that_was_cut_short_anywhere_is_refused() -> None:
    for end in range(len(TEXT) - 1):
        text = TEXT[:end]
        if text.endswith(("[inputs]", "[inputs]\n")) or text.splitlines()[-1:] in (
            ["size = 4"],
            ["size = 40"],
            ["size = 409"],
        ):
            continue  # the lock of an empty project, and a number cut short, which is still a number
        assert refusal(text).what == "repro.lock is damaged"


def test_what_is_not_toml_is_told_with_its_line() -> None:
    assert refusal(TEXT + "\nx = \n").why.startswith(f"repro.lock:{TEXT.count(chr(10)) + 2}: not valid TOML: ")


def test_a_step_without_an_environment_for_a_platform_of_its_base_is_refused() -> None:
    lock = locks.churn()
    train = replace(lock.steps["train"], environments={})
    text = dump_lock(replace(lock, steps={**lock.steps, "train": train}))
    assert "step.train: has no environment for linux/amd64, which base.slim has" in refusal(text).why


def _with_wheels(*wheels: Wheel) -> Lock:
    lock = locks.churn()
    environment = Environment(interpreter="3.11.2", wheels=tuple(sorted(wheels)))
    steps = {name: replace(step, environments={locks.AMD64: environment}) for name, step in lock.steps.items()}
    return replace(lock, steps=steps)


def _twins() -> tuple[Wheel, Wheel]:
    """Return two wheels of one version whose hashes begin alike."""
    one = replace(locks.wheel("twin", "1.0"), sha256=Digest("ab" * 6 + "0" * 52))
    return one, replace(one, sha256=Digest("ab" * 6 + "1" * 52))


def test_wheels_that_share_a_short_reference_are_named_in_full() -> None:
    one, other = _twins()
    lock = _with_wheels(one, other, locks.wheel("six", "1"))
    text = dump_lock(lock)
    assert f'"twin==1.0 {one.sha256}"' in text
    assert f'"twin==1.0 {other.sha256}"' in text
    assert parse_lock(text) == lock
    assert 'twin==1.0 sha256:abababababab"' in dump_lock(_with_wheels(one))


def test_a_short_reference_to_several_wheels_is_refused() -> None:
    one, other = _twins()
    text = dump_lock(_with_wheels(one, other)).replace(str(one.sha256), "sha256:abababababab", 1)
    assert '"twin==1.0 sha256:abababababab" is the reference of several packages' in refusal(text).why


def test_one_wheel_from_several_urls_is_written_once_with_the_first() -> None:
    wheel = locks.wheel("six", "1.0")
    elsewhere = replace(wheel, url="https://another.example/six.whl")
    lock = _with_wheels(wheel)
    clean = replace(lock.steps["clean"], environments=_with_wheels(elsewhere).steps["clean"].environments)
    text = dump_lock(replace(lock, steps={**lock.steps, "clean": clean}))
    assert text.count("[[package]]") == 1
    assert parse_lock(text).wheels == (elsewhere,)


def test_a_block_that_a_merge_doubled_is_taken_once() -> None:
    block = TEXT[TEXT.index("[[package]]") : TEXT.index("[step.clean]")]
    assert parse_lock(TEXT.replace(block, block + block)) == locks.churn()
