"""The entry point of step images, as a process of its own: what it says, what it becomes, how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import machines
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repro_env.config.machine import GpuRequest, HostRequest
from repro_env.config.versions import VersionRange
from repro_env.errors import IntegrityError, LockError, ReproError, RuntimeUnavailableError, VerificationError
from repro_env.verify import entry, start
from repro_env.verify.needs import Needs
from repro_env.verify.program import interpreter_arguments, program_files

PLATFORM = {"x86_64": "linux/amd64", "aarch64": "linux/arm64"}[os.uname().machine]
EASY = HostRequest(cpus=1)
HARD = HostRequest(cpus=100_000, kernel=VersionRange.parse(">=2"))


@dataclass(frozen=True, slots=True)
class Image:
    """The program as an image has it, in a directory."""

    root: Path

    def needs(self, **asked: Any) -> None:
        needs = Needs(project="churn", step="train", platform=PLATFORM, **asked)
        self.write(json.dumps(needs.to_dict()))

    def write(self, text: str) -> None:
        (self.root / "needs.json").write_text(text)

    def words(self, *command: str) -> list[str]:
        return [*interpreter_arguments(sys.executable, str(self.root / "verify")), *command]

    def run(self, *command: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.words(*command),
            env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **(env or {})},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def findings(self, *command: str, env: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Return the document that is written."""
        path = self.root / "findings.json"
        path.unlink(missing_ok=True)
        self.run(*command, env={**(env or {}), "REPRO_FINDINGS": str(path)})
        document: dict[str, Any] = json.loads(path.read_text())
        return document


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    root = tmp_path_factory.mktemp("image")
    for name, content in program_files().items():
        path = root / "verify" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return Image(root)


def test_what_is_met_is_not_mentioned(image: Image) -> None:
    image.needs(host=EASY)
    done = image.run("sh", "-c", "echo trained; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "trained\n", "")


def test_the_command_is_the_same_process(image: Image) -> None:
    image.needs(host=EASY)
    with subprocess.Popen(image.words("sh", "-c", "echo $$"), stdout=subprocess.PIPE, text=True) as process:
        assert process.communicate(timeout=60)[0] == f"{process.pid}\n"


def test_a_mismatch_keeps_the_command_from_starting(image: Image) -> None:
    image.needs(host=HARD)
    done = image.run("echo", "trained")
    assert (done.returncode, done.stdout) == (122, "")
    lines = done.stderr.splitlines()
    assert lines[0] == "error: this machine is not what step train needs"
    assert lines[1].startswith("  cpus: needed 100000 CPUs, found ")
    assert lines[-1] == (
        "hint: to go on all the same: REPRO_ALLOW=cpus in the container's environment, --allow with `repro exec`"
    )


def test_findings_as_json(image: Image) -> None:
    image.needs(host=HARD)
    document = image.findings("echo", "trained")
    assert {name: document[name] for name in ("version", "project", "step", "mode", "ok", "started")} == {
        "version": 1,
        "project": "churn",
        "step": "train",
        "mode": "enforce",
        "ok": False,
        "started": False,
    }
    assert [(one["name"], one["status"], one["allowed"]) for one in document["findings"]] == [
        ("platform", "ok", False),
        ("cpus", "mismatch", False),
        ("kernel", "ok", False),
    ]
    assert document["facts"]["host"]["architecture"] == os.uname().machine


def test_warn_goes_on_loudly_and_says_so_in_the_findings(image: Image) -> None:
    image.needs(host=HARD)
    done = image.run("echo", "trained", env={"REPRO_VERIFY": "warn"})
    assert (done.returncode, done.stdout) == (0, "trained\n")
    assert done.stderr.startswith("warning: REPRO_VERIFY=warn: step train goes on although this machine is not")
    assert "cpus: needed 100000 CPUs" in done.stderr
    document = image.findings("echo", "trained", env={"REPRO_VERIFY": "warn"})
    assert (document["mode"], document["ok"], document["started"]) == ("warn", False, True)


def test_off_looks_at_nothing_and_says_so(image: Image) -> None:
    image.write("broken")
    done = image.run("echo", "trained", env={"REPRO_VERIFY": "off"})
    assert (done.returncode, done.stdout) == (0, "trained\n")
    assert done.stderr == ("warning: REPRO_VERIFY=off: whether this machine is what the step needs was not looked at\n")
    document = image.findings("echo", "trained", env={"REPRO_VERIFY": "off"})
    assert (document["mode"], document["ok"], document["started"]) == ("off", False, True)
    assert document["findings"] == []
    assert document["facts"] is None


def test_one_check_is_allowed_by_name(image: Image) -> None:
    image.needs(host=HARD)
    done = image.run("echo", "trained", env={"REPRO_ALLOW": "cpus, disk"})
    assert (done.returncode, done.stdout) == (0, "trained\n")
    assert done.stderr.startswith("warning: step train goes on although this machine is not what it needs\n  cpus:")
    document = image.findings("echo", "trained", env={"REPRO_ALLOW": "cpus"})
    assert (document["ok"], document["started"]) == (True, True)
    assert [one["name"] for one in document["findings"] if one["allowed"]] == ["cpus"]


def test_another_check_stays(image: Image) -> None:
    image.needs(host=HARD)
    assert image.run("true", env={"REPRO_ALLOW": "disk"}).returncode == 122


def test_verbose_tells_everything(image: Image) -> None:
    image.needs(host=EASY)
    done = image.run("true", env={"REPRO_VERIFY": "verbose"})
    assert done.returncode == 0
    assert done.stderr.splitlines()[0] == "note: step train on this machine"
    assert [line.split()[:2] for line in done.stderr.splitlines()[1:]] == [["platform", "ok"], ["cpus", "ok"]]


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"REPRO_VERIFY": "no"}, "error: REPRO_VERIFY is 'no'\n  it may be enforce, verbose, warn or off, or not set"),
        ({"REPRO_ALLOW": "gpus"}, "error: REPRO_ALLOW=gpus: there is no such check\n  the checks are platform, gpu, "),
    ],
)
def test_wrong_variables(image: Image, env: dict[str, str], message: str) -> None:
    image.needs(host=EASY)
    done = image.run("echo", "trained", env=env)
    assert (done.returncode, done.stdout) == (120, "")
    assert done.stderr.startswith(message)


def test_no_command(image: Image) -> None:
    image.needs(host=EASY)
    done = image.run()
    assert (done.returncode, done.stderr.splitlines()[0]) == (120, "error: there is no command to start")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"version": 2}', '{"version": 1}', "[" * 100_000, "\xff"])
def test_a_broken_slice(image: Image, text: str) -> None:
    image.write(text)
    done = image.run("echo", "trained")
    assert (done.returncode, done.stdout) == (121, "")
    assert done.stderr.startswith(f"error: {image.root}/needs.json does not say what the step needs\n")
    assert "hint: build the image again with `repro build`; to start the command unverified: REPRO_VERIFY=off" in (
        done.stderr
    )


def test_a_missing_slice(image: Image) -> None:
    (image.root / "needs.json").unlink(missing_ok=True)
    assert image.run("true").returncode == 121


def test_a_command_that_is_not_there(image: Image) -> None:
    image.needs(host=EASY)
    done = image.run("nonesuch")
    assert done.returncode == 123
    assert done.stderr == (
        "error: nonesuch cannot be started\n  No such file or directory\n"
        "hint: see whether the step's environment has that command\n"
    )
    assert image.findings("nonesuch")["started"] is False


def test_a_command_that_is_no_program(image: Image) -> None:
    image.needs(host=EASY)
    done = image.run(str(image.root / "needs.json"))
    assert done.returncode == 123
    assert "Permission denied" in done.stderr


def test_findings_that_cannot_be_written_keep_nothing_back(image: Image) -> None:
    image.needs(host=EASY)
    done = image.run("echo", "trained", env={"REPRO_FINDINGS": "/nonesuch/x"})
    assert (done.returncode, done.stdout) == (0, "trained\n")
    assert done.stderr == ("warning: the findings cannot be written to /nonesuch/x\n  No such file or directory\n")


@pytest.mark.parametrize(
    "locale", [{}, {"LANG": "C.UTF-8"}, {"LC_ALL": "C"}, {"LC_CTYPE": "C.UTF-8"}, {"LC_ALL": "POSIX"}]
)
def test_the_command_has_the_environment_that_was_given(image: Image, locale: dict[str, str]) -> None:
    image.needs(host=EASY)
    given = {"PATH": os.environ["PATH"], "A": "b c", "ODD": os.fsdecode(b"\xff"), "PYTHONPATH": "/x", **locale}
    mine = {"REPRO_VERIFY": "verbose", "REPRO_ALLOW": "cpus", "REPRO_FINDINGS": str(image.root / "f")}
    done = subprocess.run(image.words("env", "-0"), env={**given, **mine}, capture_output=True, check=True, timeout=60)
    entries = (entry.partition(b"=") for entry in done.stdout.split(b"\0") if entry)
    assert {os.fsdecode(name): os.fsdecode(value) for name, _, value in entries} == given


def test_arguments_that_are_not_text(image: Image) -> None:
    image.needs(host=EASY)
    done = subprocess.run([*image.words("printf", "%s"), b"\xff\xfe"], capture_output=True, check=True, timeout=60)
    assert done.stdout == b"\xff\xfe"


def test_the_command_finds_signals_as_they_were(image: Image) -> None:
    image.needs(host=EASY)
    code = "grep -E 'Sig(Ign|Blk|Cgt)' /proc/self/status"
    own = subprocess.run(["sh", "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    assert image.run("sh", "-c", code).stdout == own


def test_a_signal_that_is_ignored_stays_so(image: Image) -> None:
    image.needs(host=EASY)
    with subprocess.Popen(
        ["sh", "-c", "trap '' INT HUP; exec \"$@\"", "sh", *image.words("sh", "-c", "kill -INT $$; echo lives")],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.communicate(timeout=60)[0] == "lives\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_while_it_verifies(image: Image, number: signal.Signals) -> None:
    """A findings file that is a pipe nobody reads keeps it where it is."""
    image.needs(host=EASY)
    pipe = image.root / f"pipe-{number}"
    os.mkfifo(pipe)
    env = {"PATH": os.environ["PATH"], "REPRO_FINDINGS": str(pipe), "REPRO_VERIFY": "verbose"}
    words = image.words("echo", "trained")
    with subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "note: step train on this machine\n"
        time.sleep(0.2)
        process.send_signal(number)
        assert process.communicate(timeout=60)[0] == ""
    assert process.returncode == 128 + number


def test_nothing_it_opened_is_left_open(image: Image) -> None:
    image.needs(host=EASY)
    assert image.run("ls", "/proc/self/fd").stdout.split() == ["0", "1", "2", "3"]


def test_it_lives_without_standard_error(image: Image) -> None:
    image.needs(host=HARD)
    words = ["sh", "-c", 'exec "$@" 2>&-', "sh", *image.words("echo", "trained")]
    assert subprocess.run(words, check=False, timeout=60).returncode == 122
    broken = ["sh", "-c", 'exec "$@" 2>/dev/full', "sh", *image.words("echo", "trained")]
    assert subprocess.run(broken, check=False, timeout=60).returncode == 122


def test_no_driver_is_said_plainly(image: Image) -> None:
    if Path("/dev/nvidiactl").exists():
        pytest.skip("this machine has a driver")
    image.needs(gpu=GpuRequest())
    done = image.run("echo", "trained")
    assert done.returncode == 122
    assert "gpu: needed NVIDIA's driver, found no NVIDIA driver" in done.stderr
    assert "no device node /dev/nvidiactl, and no library libnvidia-ml.so.1" in done.stderr


@pytest.fixture(scope="module")
def nvml(tmp_path_factory: pytest.TempPathFactory) -> machines.Nvml:
    built = machines.build(tmp_path_factory.mktemp("nvml"))
    if built is None:
        pytest.skip("there is no C compiler")
    return built


@pytest.mark.parametrize(
    ("name", "failed"),
    [
        ("h100", []),
        ("a100-8x", []),
        ("t4", ["compute-capability"]),
        ("old-driver", ["compute-capability", "driver"]),
        ("lost-gpu", ["gpu"]),
        ("no-permission", ["gpu"]),
    ],
)
def test_recorded_machines(image: Image, nvml: machines.Nvml, name: str, failed: list[str]) -> None:
    asked = GpuRequest(compute_capability=VersionRange.parse(">=9"), driver=VersionRange.parse(">=535"))
    image.needs(gpu=asked if name != "a100-8x" else GpuRequest(count=8, nvlink=True))
    document = image.findings("true", env=nvml.environment(name))
    assert set(failed) <= {one["name"] for one in document["findings"] if one["status"] != "ok"}
    assert document["started"] is not bool(failed)


def test_a_python_without_ctypes(image: Image, tmp_path: Path) -> None:
    image.needs(gpu=GpuRequest())
    (tmp_path / "verify").mkdir()
    copy = Image(tmp_path)
    for name, content in program_files().items():
        path = tmp_path / "verify" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"import _nonesuch\n" if name == "pynvml.py" else content)
    copy.needs(gpu=GpuRequest())
    done = copy.run("true")
    assert done.returncode == 122
    assert "this Python cannot load NVML: No module named '_nonesuch'" in done.stderr


def test_what_nobody_expected_is_one_line(image: Image, tmp_path: Path) -> None:
    copy = Image(tmp_path)
    for name, content in program_files().items():
        path = tmp_path / "verify" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content + b"\n1 / 0\n" if name.endswith("/collect.py") else content)
    copy.needs(host=EASY)
    done = copy.run("echo", "trained")
    assert (done.returncode, done.stdout) == (125, "")
    assert "ZeroDivisionError: division by zero (collect.py:" in done.stderr
    assert "Traceback" not in done.stderr


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2**70) | st.text(max_size=5) | st.sampled_from([">=8", "linux/amd64"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_KEYS = st.sampled_from(
    [
        "version",
        "project",
        "step",
        "platform",
        "gpu",
        "host",
        "cuda",
        "require",
        "libraries",
        "count",
        "memory",
        "names",
    ]
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(_KEYS, _JSON | st.dictionaries(_KEYS, _JSON, max_size=4), max_size=6))
def test_any_document_is_read_or_refused_with_a_value_error(document: dict[str, Any]) -> None:
    try:
        needs = Needs.from_dict({"version": 1, "platform": "linux/amd64", **document})
    except ValueError:
        return
    assert Needs.from_dict(json.loads(json.dumps(needs.to_dict()))) == needs


def test_statuses_are_those_of_repro_exec() -> None:
    expected: dict[int, type[ReproError]] = {
        entry.USAGE: LockError,
        entry.BROKEN: IntegrityError,
        entry.MISMATCH: VerificationError,
        entry.NOT_STARTED: RuntimeUnavailableError,
        start.BUG: ReproError,
    }
    assert {status: error.exec_status for status, error in expected.items()} == {status: status for status in expected}
