"""Secrets from the caller's environment to a command: what is asked for, and the ways that leave no copy."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import tiny

from repro_env.config.checks import RESERVED_VARIABLES, SET_VARIABLES
from repro_env.edges.child import send, supervise
from repro_env.edges.feeding import readable
from repro_env.errors import VerificationError
from repro_env.lock.determinism import SETTINGS
from repro_env.run.gpus import SELECTION
from repro_env.run.plan import ENVIRONMENT, RunPlan, User, plan_run
from repro_env.run.runtimes.apptainer import apptainer_arguments, apptainer_environment
from repro_env.run.runtimes.bwrap import bwrap_arguments, secret_arguments
from repro_env.run.runtimes.docker import docker_options
from repro_env.run.runtimes.podman import podman_arguments
from repro_env.run.runtimes.venv import venv_variables
from repro_env.run.secret_values import handed, secret_values

VALUE = "hunter2-of-mine"


def plan(tmp_path: Path, *command: str) -> RunPlan:
    made = tiny.tiny_plan(tiny.tiny_step(*command), tmp_path, image=None)
    return replace(made, secrets={"B_TOKEN": VALUE, "KEY": "one\ntwo=2"})


def test_all_that_lack_are_told_at_once_and_no_value_is() -> None:
    names = ("A_TOKEN", "B_TOKEN", "KEY")
    with pytest.raises(VerificationError) as found:
        secret_values("train", names, {"B_TOKEN": VALUE, "KEY": ""})
    assert found.value.why == "A_TOKEN is not set\nKEY is empty"
    assert "step train needs secrets" in found.value.what
    assert VALUE not in str(found.value)


def test_nothing_else_of_the_callers_environment_is_taken() -> None:
    assert secret_values("train", ("A",), {"A": "1", "B": "2"}) == {"A": "1"}
    assert secret_values("train", (), {"B": "2"}) == {}


def test_a_plan_does_not_show_them(tmp_path: Path) -> None:
    assert VALUE not in repr(plan(tmp_path, "true"))


def test_they_go_before_what_the_image_declares(tmp_path: Path) -> None:
    made = plan_run(
        tiny.tiny_step("true"),
        tiny.ENVIRONMENT,
        run="r1",
        project="churn",
        image=None,
        image_environment={"B_TOKEN": "the image's", "OTHER": "x"},
        inputs=(),
        code=tmp_path,
        output=tmp_path,
        user=User(uid=1, gid=1),
        secrets={"B_TOKEN": VALUE},
    )
    assert "B_TOKEN" not in made.variables
    assert (made.variables["OTHER"], made.secrets) == ("x", {"B_TOKEN": VALUE})


def test_no_command_line_and_no_engines_document_has_them(tmp_path: Path) -> None:
    made = plan(tmp_path, "python", "train.py")
    given, first = handed(made)
    told = [
        *bwrap_arguments(made, Path("/root"), 7),
        *podman_arguments(given, "abc", rootless=True, init=None),
        *apptainer_arguments(made, Path("/root"), tmp_path, as_root=False),
        str(docker_options(given, "sha256:abc", made.user)),
        str(venv_variables(made, tmp_path, tmp_path)),
    ]
    assert not [word for word in told if VALUE in word]
    assert VALUE.encode() in first
    assert apptainer_environment(made, "apptainer", {})["APPTAINERENV_B_TOKEN"] == VALUE


def test_without_secrets_a_plan_goes_to_an_engine_as_it_is(tmp_path: Path) -> None:
    made = replace(plan(tmp_path, "true"), secrets={})
    assert handed(made) == (made, b"")
    assert "--args" not in bwrap_arguments(made, Path("/root"))


def test_bwrap_is_told_where_to_read_them_after_it_has_cleared_the_environment(tmp_path: Path) -> None:
    made = plan(tmp_path, "true")
    words = bwrap_arguments(made, Path("/root"), 7)
    assert words.index("--clearenv") < words.index("--args") < words.index("--")
    assert words[words.index("--args") + 1] == "7"
    assert secret_arguments(made) == b"--setenv\0B_TOKEN\0hunter2-of-mine\0--setenv\0KEY\0one\ntwo=2\0"


def started(
    made: RunPlan, data: bytes = b"", *, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run what starts a plan's command, by this interpreter."""
    given, first = handed(made)
    return subprocess.run(
        [sys.executable, *given.argv[1:]],
        input=first + data,
        env={"PATH": os.defpath, **(env or {})},
        capture_output=True,
        timeout=60,
        check=False,
    )


def test_the_command_finds_them_and_the_rest_of_standard_input(tmp_path: Path) -> None:
    made = plan(tmp_path, "sh", "-c", 'env -0; cat; exit "$1"', "sh", "7")
    done = started(made, b"a line\n", env={"KEY": "another", "LC_ALL": "C"})
    *entries, rest = done.stdout.split(b"\0")
    assert done.returncode == 7
    assert {b"B_TOKEN=hunter2-of-mine", b"KEY=one\ntwo=2", b"LC_ALL=C"} <= {*entries}
    assert not [entry for entry in entries if entry.startswith((b"LC_CTYPE=", b"KEY=another"))]
    assert (rest, done.stderr) == (b"a line\n", b"")


def test_signals_are_for_the_command_as_they_were(tmp_path: Path) -> None:
    done = started(plan(tmp_path, "grep", "SigIgn", "/proc/self/status"))
    own = subprocess.run(["grep", "SigIgn", "/proc/self/status"], capture_output=True, check=True, timeout=60)
    assert done.stdout == own.stdout


def test_a_command_that_is_not_there(tmp_path: Path) -> None:
    done = started(plan(tmp_path, "/nonexistent"))
    assert done.returncode == 123
    assert done.stderr == b"error: /nonexistent cannot be started\n  No such file or directory\n"


def test_a_standard_input_that_breaks_off_starts_nothing(tmp_path: Path) -> None:
    given, first = handed(plan(tmp_path, "echo", "started"))
    words = [sys.executable, *given.argv[1:]]
    done = subprocess.run(words, input=first[:-1], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (125, b"")
    assert done.stderr == b"error: echo cannot be started\n  its secrets did not arrive\n"


def test_a_program_reads_what_is_given_first_and_then_our_standard_input(capfd: pytest.CaptureFixture[str]) -> None:
    code = """
from repro_env.edges.child import send, supervise
supervise(["cat"], env={"PATH": "/bin:/usr/bin"}, output=None, deliver=send, first=b"first " * 50000)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], input=b"then " * 50000, capture_output=True, timeout=60, check=True
    )
    assert done.stdout == b"first " * 50000 + b"then " * 50000


def test_a_program_that_reads_nothing_of_it_holds_nobody_up() -> None:
    first = b"x" * (1 << 20)
    ended = supervise(["sleep", "0.2"], env={"PATH": os.defpath}, output=None, deliver=send, first=first)
    assert ended.status == 0


@pytest.mark.parametrize("size", [0, 7, 1 << 20])
def test_a_descriptor_gives_bytes_to_their_end(size: int) -> None:
    data = os.urandom(size)
    with readable(data) as reader, open(os.dup(reader), "rb") as stream:
        assert stream.read() == data


def test_a_descriptor_that_nobody_reads_holds_nobody_up() -> None:
    before = threading.active_count()
    with readable(os.urandom(1 << 20)) as reader:
        assert len(os.read(reader, 10)) == 10
    assert threading.active_count() == before
    with pytest.raises(OSError), contextlib.closing(os.fdopen(reader)):  # noqa: PT011 - whatever a closed one says
        pass


def test_what_repro_sets_itself_cannot_be_a_secret() -> None:
    own = {*ENVIRONMENT, *SETTINGS, *SELECTION, "LD_LIBRARY_PATH", "VIRTUAL_ENV"}
    assert {name for name in own if not name.startswith(RESERVED_VARIABLES)} <= SET_VARIABLES
