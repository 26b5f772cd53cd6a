"""Each runtime for real: what a step sees, what it cannot do, how it ends, and that it ends with us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import machine
import pytest
import tiny
from recorder import record

from repro_env.edges.report import Silent
from repro_env.image.docker_archive import docker_archive
from repro_env.image.store import Store
from repro_env.run.plan import ENVIRONMENT, Input
from repro_env.run.runtimes.choose import choose, runtimes_of

DRIVER = Path(tiny.__file__).parent / "run_tiny.py"
TIMEOUT = 120.0
NOBODY = 65534

isolating = pytest.mark.parametrize(
    "name",
    [
        pytest.param("bwrap", marks=pytest.mark.bwrap),
        pytest.param("docker", marks=pytest.mark.docker),
        pytest.param("podman", marks=pytest.mark.podman),
    ],
)
every = pytest.mark.parametrize(
    "name",
    [
        pytest.param("bwrap", marks=pytest.mark.bwrap),
        pytest.param("docker", marks=pytest.mark.docker),
        pytest.param("podman", marks=pytest.mark.podman),
        "venv",
    ],
)


# In one process: its end removes the images that all of them made.
pytestmark = pytest.mark.xdist_group("runtimes")


@pytest.fixture(autouse=True)
def _busybox() -> None:
    machine.require("busybox")


def arguments(name: str, root: Path, command: Sequence[str], *flags: str) -> list[str]:
    return [sys.executable, str(DRIVER), name, str(root), *flags, "--", *command]


def drive(
    name: str, root: Path, command: Sequence[str], *flags: str, **options: object
) -> subprocess.CompletedProcess[str]:
    words = arguments(name, root, command, *flags)
    return subprocess.run(words, capture_output=True, text=True, timeout=TIMEOUT, check=False, **options)  # type: ignore[call-overload,no-any-return]


def start(name: str, root: Path, command: Sequence[str], *flags: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        arguments(name, root, command, *flags), stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.PIPE
    )


def until(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def processes(mark: str) -> list[list[str]]:
    """Return the command lines of this machine that have `mark` in them; what drives the run does not count."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if mark in words and not any("run_tiny.py" in word for word in words):
                found.append(words)
    return found


def alive(mark: str) -> bool:
    """Whether a step that has `mark` in its command line runs."""
    return any("bwrap" not in words[0] for words in processes(mark))


def a_mark() -> str:
    """A number of seconds that no other test sleeps."""
    return f"{600 + int.from_bytes(os.urandom(3), 'big') / 1e6:.6f}"


@pytest.fixture(scope="module", autouse=True)
def _no_image_is_left() -> Iterator[None]:
    yield
    for engine in ("docker", "podman"):
        if machine.absence(engine) is None:
            listing = [engine, "image", "ls", "--format", "{{.Repository}}:{{.Tag}}"]
            found = subprocess.run(listing, capture_output=True, text=True, check=True, timeout=TIMEOUT).stdout.split()
            # By their names: an image of the same content may be another process's, too.
            mine = [name for name in found if f"/{tiny.PROJECT}-train:" in name]
            if mine:
                subprocess.run([engine, "image", "rm", "--force", *mine], check=False, timeout=TIMEOUT)


@pytest.fixture
def public_directory() -> Iterator[Path]:
    """A directory that every user can reach, which those of pytest are not."""
    with tempfile.TemporaryDirectory(prefix="repro-test-") as name:
        os.chmod(name, 0o755)
        yield Path(name)


def ask(url: str) -> list[str]:
    """Return the command that prints what a web server answers; a static busybox cannot look names up."""
    host, port = url.removeprefix("http://").split(":")
    return ["sh", "-c", f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 {host} {port}"]


@every
def test_the_exit_status_is_the_steps_own(name: str, tmp_path: Path) -> None:
    assert drive(name, tmp_path, ["sh", "-c", "exit 7"]).returncode == 7


@every
def test_streams_stay_apart_and_binary_bytes_are_kept(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        arguments(name, tmp_path, ["sh", "-c", r"printf 'out\000\377'; printf err >&2"], "--log"),
        capture_output=True,
        timeout=TIMEOUT,
        check=True,
    )
    assert (done.stdout, done.stderr) == (b"out\0\xff", b"err")
    assert sorted((tmp_path / "run" / "output.log").read_bytes()) == sorted(b"out\0\xfferr")


@every
@pytest.mark.parametrize("flags", [(), ("--log",)], ids=["direct", "logged"])
def test_standard_input_passes_through_to_its_end(name: str, flags: Sequence[str], tmp_path: Path) -> None:
    text = "line\n" * 50_000
    assert drive(name, tmp_path, ["cat"], *flags, input=text).stdout == text


@every
@pytest.mark.parametrize("flags", [(), ("--log",)], ids=["direct", "logged"])
def test_a_line_arrives_before_the_command_ends(name: str, flags: Sequence[str], tmp_path: Path) -> None:
    with start(name, tmp_path, ["sh", "-c", "echo first; read line; echo $line"], *flags) as running:
        assert running.stdout is not None
        assert running.stdin is not None
        assert running.stdout.readline() == b"first\n"
        assert running.poll() is None
        running.stdin.write(b"second\n")
        running.stdin.flush()
        assert running.stdout.readline() == b"second\n"
        assert running.wait(TIMEOUT) == 0


@isolating
def test_the_environment_is_the_declared_one_and_nothing_else(name: str, tmp_path: Path) -> None:
    environ = {**os.environ, "SECRET": "x", "HTTP_PROXY": "http://127.0.0.1:9", "LANG": "tlh", "PYTHONPATH": "/x"}
    environ.pop("PYTHONPATH")
    done = drive(name, tmp_path, ["/bin/env"], env=environ)
    found = dict(line.split("=", 1) for line in done.stdout.splitlines())
    run = (tmp_path / "container").read_text().removeprefix("repro-")
    expected = {**ENVIRONMENT, "REPRO_STEP": "train", "REPRO_RUN": run}
    engine = {"HOSTNAME": "repro", "PWD": "/repro/code"}  # what an engine sets itself
    assert {**engine, **found} == {**engine, **expected}


@pytest.mark.parametrize("name", ["venv"])
def test_the_environment_without_an_image_differs_in_path_and_home(name: str, tmp_path: Path) -> None:
    done = drive(name, tmp_path, ["env"], env={**os.environ, "SECRET": "x"})
    found = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert set(found) - set(ENVIRONMENT) == {"REPRO_STEP", "REPRO_RUN", "VIRTUAL_ENV"}
    assert found["PATH"].startswith(found["VIRTUAL_ENV"] + "/bin:")
    assert found["HOME"] == str(tmp_path / "run" / "home")


@isolating
def test_the_network_is_closed_but_for_loopback(name: str, tmp_path: Path) -> None:
    with record({"/": (200, {}, b"reached")}) as (url, requests):
        done = drive(name, tmp_path, ask(url))
    assert done.returncode != 0
    assert "refused" in done.stderr
    assert requests == []
    assert "LOOPBACK,UP" in drive(name, tmp_path, ["ip", "link", "show", "lo"]).stdout


@pytest.mark.bwrap
def test_the_network_is_open_when_the_step_says_so(tmp_path: Path) -> None:
    with record({"/": (200, {}, b"reached")}) as (url, _requests):
        done = drive("bwrap", tmp_path, ask(url), "--network")
    assert done.stdout.endswith("reached")


@pytest.mark.parametrize(
    "name",
    [pytest.param("docker", marks=pytest.mark.docker), pytest.param("podman", marks=pytest.mark.podman)],
)
def test_an_engine_gives_an_interface_when_the_step_says_so(name: str, tmp_path: Path) -> None:
    done = drive(name, tmp_path, ["ip", "-o", "link"], "--network")
    if name == "podman" and "iptables" in done.stderr:
        pytest.skip(f"podman's network cannot be set up here: {done.stderr.strip()}")
    assert len(done.stdout.splitlines()) > 1, done.stderr


@isolating
def test_only_output_and_temporary_places_are_writable(name: str, store: Store, tmp_path: Path) -> None:
    script = """
    for place in / /bin /etc /repro /repro/code /repro/input /repro/input/raw /repro/input/raw/raw /opt \
        /repro/output /repro/output/build /tmp /dev/shm /run; do
        if touch $place/new 2>/dev/null; then echo $place; fi
    done
    (echo changed > /repro/input/raw/raw/file) 2>/dev/null && echo input
    cat /repro/input/raw/raw/file
    """
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "file").write_text("original\n")
    runtime = choose(runtimes_of(store, Silent()), asked=name)
    entries = [Input(name="raw", declared="data/raw", source=tmp_path / "raw")]
    step = tiny.tiny_step("sh", "-c", script, inputs=["raw"], outputs={"model": "build/model"})
    plan = tiny.tiny_plan(step, tmp_path, image=tiny.tiny_image(store), inputs=entries, run=f"ro-{os.getpid()}")
    (plan.output / "build").mkdir(parents=True)
    log = tmp_path / "log"
    assert runtime.run(plan, log=log).status == 0
    assert log.read_text().splitlines() == [
        "/repro/output",
        "/repro/output/build",
        "/tmp",
        "/dev/shm",
        "/run",
        "original",
    ]
    assert (plan.output / "build" / "new").stat().st_uid == os.getuid()


@isolating
def test_the_step_has_no_privilege_to_change_that(name: str, tmp_path: Path) -> None:
    status = drive(name, tmp_path, ["grep", "-E", "^(Cap(Eff|Prm|Bnd)|NoNewPrivs)", "/proc/self/status"]).stdout
    values = dict(line.split(":\t") for line in status.splitlines())
    assert {int(values[key], 16) for key in ("CapEff", "CapPrm", "CapBnd")} == {0}
    assert values["NoNewPrivs"] == "1"


@isolating
def test_an_input_is_one_file_where_the_command_expects_it(name: str, store: Store, tmp_path: Path) -> None:
    odd = tmp_path / "of the, caller's" / "x.csv"
    odd.parent.mkdir()
    odd.write_text("a,b\n")
    step = tiny.tiny_step("sh", "-c", 'cat "$0" && cat "$REPRO_INPUT_CLEAN_TABLE"', "{output.table@clean}")
    entries = [Input(name="clean.table", declared="build/table.csv", source=odd)]
    plan = tiny.tiny_plan(step, tmp_path, image=tiny.tiny_image(store), inputs=entries, run=f"in-{os.getpid()}")
    plan.output.mkdir(parents=True)
    assert plan.argv[-1] == "/repro/input/clean.table/table.csv"
    log = tmp_path / "log"
    assert choose(runtimes_of(store, Silent()), asked=name).run(plan, log=log).status == 0
    assert log.read_text() == "a,b\n" * 2


@pytest.mark.bwrap
def test_code_is_mounted_so_that_an_edit_needs_no_image(tmp_path: Path) -> None:
    assert drive("bwrap", tmp_path, ["cat", "hello.txt"]).stdout == "from the project\n"


@pytest.mark.docker
def test_code_comes_with_the_step_image(tmp_path: Path) -> None:
    assert drive("docker", tmp_path, ["cat", "hello.txt"]).stdout == "from the image\n"


@every
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_reaches_the_step_which_decides(name: str, number: signal.Signals, tmp_path: Path) -> None:
    script = f"trap 'echo caught; exit 9' {number.name[3:]}; echo ready; while :; do sleep 0.05; done"
    with start(name, tmp_path, ["sh", "-c", script]) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"ready\n"
        running.send_signal(number)
        assert running.stdout.readline() == b"caught\n"
        assert running.wait(TIMEOUT) == 9


@every
def test_a_step_that_dies_of_the_signal_gives_its_status(name: str, tmp_path: Path) -> None:
    with start(name, tmp_path, ["sh", "-c", "echo ready; exec sleep 60"]) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"ready\n"
        running.send_signal(signal.SIGTERM)
        assert running.wait(TIMEOUT) == 128 + signal.SIGTERM


@every
def test_each_signal_arrives_once(name: str, tmp_path: Path) -> None:
    script = "n=0; trap 'n=$((n+1))' INT; trap 'echo $n; exit 0' TERM; echo ready; while :; do sleep 0.05; done"
    with start(name, tmp_path, ["sh", "-c", script]) as running:
        assert running.stdout is not None
        running.stdout.readline()
        running.send_signal(signal.SIGINT)
        time.sleep(0.5)
        running.send_signal(signal.SIGTERM)
        assert running.stdout.readline() == b"1\n"
        running.wait(TIMEOUT)


@every
def test_when_we_are_killed_the_step_ends(name: str, tmp_path: Path) -> None:
    mark = a_mark()
    with start(name, tmp_path, ["sh", "-c", f"echo ready; sleep {mark}; true"]) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"ready\n"
        assert until(lambda: alive(mark))
        running.kill()
        running.wait(TIMEOUT)
        assert until(lambda: not alive(mark)), "the step outlived the program that ran it"


KILLED_AT_ITS_START = """
import os, runpy, signal, subprocess, sys

class Killed(subprocess.Popen):
    def __init__(self, words, **options):
        super().__init__(words, **options)
        if options.get("start_new_session") and words[0] != "/bin/sh":  # the step, and not what guards it
            os.kill(os.getpid(), signal.SIGKILL)

subprocess.Popen = Killed
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize(
    "name",
    [pytest.param("bwrap", marks=pytest.mark.bwrap), pytest.param("podman", marks=pytest.mark.podman), "venv"],
)
def test_when_we_are_killed_at_its_start_the_step_ends(name: str, tmp_path: Path) -> None:
    mark = a_mark()
    python, *words = arguments(name, tmp_path, ["sleep", mark])
    done = subprocess.run([python, "-c", KILLED_AT_ITS_START, *words], check=False, timeout=TIMEOUT)
    assert done.returncode == -signal.SIGKILL
    time.sleep(3)  # longer than any of them takes to start a step
    assert processes(mark) == []


KILLED_WHILE_IT_ASKS = """
import http.client, os, runpy, signal, sys
from docker import APIClient

def ask(*words):
    http.client.HTTPConnection.getresponse = lambda *_words: os.kill(os.getpid(), signal.SIGKILL)
    asking(*words)

asking, APIClient.create_container_from_config = APIClient.create_container_from_config, ask
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.docker
def test_when_we_are_killed_as_the_engine_makes_the_container_none_is_left(tmp_path: Path) -> None:
    python, *words = arguments("docker", tmp_path, ["true"])
    done = subprocess.run([python, "-c", KILLED_WHILE_IT_ASKS, *words], check=False, timeout=TIMEOUT)
    assert done.returncode == -signal.SIGKILL
    time.sleep(2)  # longer than the engine takes to make one
    name = (tmp_path / "container").read_text()
    listing = ["docker", "ps", "--all", "--quiet", "--filter", f"name={name}"]
    assert until(lambda: subprocess.run(listing, capture_output=True, check=True, timeout=TIMEOUT).stdout == b"")


@every
def test_what_a_step_leaves_running_ends_with_it(name: str, tmp_path: Path) -> None:
    mark = a_mark()
    done = drive(name, tmp_path, ["sh", "-c", f"sleep {mark} & echo done"], "--log")
    assert done.stdout == "done\n"
    assert until(lambda: not alive(mark))


@pytest.mark.parametrize("name", [pytest.param("bwrap", marks=pytest.mark.bwrap), "venv"])
def test_a_command_that_is_not_there_is_our_error(name: str, tmp_path: Path) -> None:
    done = drive(name, tmp_path, ["nosuch-command"])
    assert done.returncode == 123
    assert f"error: {name} could not start nosuch-command" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "name",
    [pytest.param("docker", marks=pytest.mark.docker), pytest.param("podman", marks=pytest.mark.podman)],
)
def test_an_engine_says_127_like_a_shell(name: str, tmp_path: Path) -> None:
    assert drive(name, tmp_path, ["nosuch-command"]).returncode == 127


@pytest.mark.docker
def test_no_container_is_left_behind(tmp_path: Path) -> None:
    drive("docker", tmp_path, ["sh", "-c", "exit 3"])
    container = (tmp_path / "container").read_text()
    words = ["docker", "ps", "--all", "--quiet", "--filter", f"name={container}"]
    assert subprocess.run(words, capture_output=True, text=True, check=True, timeout=TIMEOUT).stdout == ""


@pytest.mark.docker
def test_the_engine_is_sent_only_the_layers_it_lacks(store: Store, tmp_path: Path) -> None:
    runtime = choose(runtimes_of(store, Silent()), asked="docker")
    first = tiny.make_layer(store, [tiny.text("unique", os.urandom(8).hex())])
    second = tiny.make_layer(store, [tiny.text("code", os.urandom(8).hex())])

    def run(image: object) -> int:
        step = tiny.tiny_step("cat", "/unique")
        plan = tiny.tiny_plan(step, tmp_path, image=image, run=os.urandom(4).hex())  # type: ignore[arg-type]
        plan.output.mkdir(parents=True, exist_ok=True)
        return runtime.run(plan, log=None).status

    assert run(tiny.tiny_image(store, first)) == 0
    image = tiny.tiny_image(store, first, second)
    os.unlink(store.blob(first.digest))  # what is not read need not be there
    assert run(image) == 0
    archive = b"".join(docker_archive(store, image, tag="repro/tiny-train:x", skip=2))
    assert len(archive) < 10_000


@pytest.mark.bwrap
def test_peak_memory_and_processor_time_are_the_steps(store: Store, tmp_path: Path) -> None:
    step = tiny.tiny_step("sh", "-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done")
    plan = tiny.tiny_plan(step, tmp_path, image=tiny.tiny_image(store))
    plan.output.mkdir(parents=True)
    ended = choose(runtimes_of(store, Silent()), asked="bwrap").run(plan, log=None)
    assert ended.cpu_seconds is not None
    assert ended.peak_memory is not None
    assert ended.cpu_seconds > 0.02
    assert 0 < ended.peak_memory < 50 * 2**20


@pytest.mark.bwrap
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_an_ordinary_user_needs_no_root(public_directory: Path) -> None:
    root = public_directory
    os.chown(root, NOBODY, NOBODY)
    become = ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"]
    words = [*become, *arguments("bwrap", root, ["sh", "-c", "id -u; touch /repro/output/made; touch /x"])]
    done = subprocess.run(words, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    if "Permission denied" in done.stderr and "python" in done.stderr:
        pytest.skip(f"another user cannot run this interpreter: {done.stderr.strip()}")
    assert done.stdout == f"{NOBODY}\n", done.stderr
    assert "Read-only file system" in done.stderr
    assert (root / "run" / "output" / "made").stat().st_uid == NOBODY
