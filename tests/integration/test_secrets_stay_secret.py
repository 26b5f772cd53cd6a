"""While a step with secrets runs, and after: no process's command line, file, or engine's document has a value."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from secrets import token_hex

import machine
import pytest
from onestep import OneStep

from repro_env.image.store import Store

pytestmark = [pytest.mark.network, pytest.mark.xdist_group("runtimes")]

TIMEOUT = 300
NAME = f"secretive{os.getpid()}"  # images are removed by it, which another process's must not be

PROJECT = f"""\
[project]
name = "{NAME}"

[base.slim]
debian = "bookworm"

[step.ask]
base = "slim"
python = "3.11"
command = ["python", "ask.py"]
code = ["ask.py"]
secrets = ["HF_TOKEN", "DEPLOY_KEY"]

[step.verified]
base = "slim"
python = "3.11"
command = ["python", "ask.py"]
code = ["ask.py"]
secrets = ["HF_TOKEN", "DEPLOY_KEY"]

[step.verified.host]
cpus = 1

[step.lost]
base = "slim"
python = "3.11"
command = ["nonesuch"]
code = ["ask.py"]
secrets = ["HF_TOKEN"]
"""

ASK = """\
import hashlib, os, sys
token, key = os.environ["HF_TOKEN"], os.environ["DEPLOY_KEY"]
print(hashlib.sha256((token + key).encode()).hexdigest(), os.getpid(), flush=True)
word = sys.stdin.readline().strip()
print(word, token[:9], end="", flush=True)
print(token[9:], key.replace("\\n", "\\r\\n  "), sys.stdin.read(), sep="|", flush=True)
print("told", token, file=sys.stderr)
sys.exit(7)
"""

every = pytest.mark.parametrize(
    "runtime",
    [
        pytest.param("bwrap", marks=pytest.mark.bwrap),
        pytest.param("docker", marks=pytest.mark.docker),
        pytest.param("podman", marks=pytest.mark.podman),
        "venv",
    ],
)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, shared_store: Store) -> OneStep:
    made = OneStep(tmp_path_factory.mktemp("project"), shared_store.root)
    (made.root / "repro.toml").write_text(PROJECT)
    (made.root / "ask.py").write_text(ASK)
    made.repro("lock")
    return made


@pytest.fixture(scope="module", autouse=True)
def _no_image_is_left() -> Iterator[None]:
    yield
    for engine in ("docker", "podman"):
        if machine.absence(engine) is None:
            found = said(engine, "image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split()
            if mine := [name for name in found if f"{NAME}-" in name]:
                said(engine, "image", "rm", "--force", *mine)


def said(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=TIMEOUT).stdout


def some_secrets() -> dict[str, str]:
    lines = [token_hex(20) for _ in range(3)]
    return {"HF_TOKEN": f"hf_{token_hex(20)}", "DEPLOY_KEY": "\n".join(lines)}


def parts(values: Mapping[str, str]) -> list[bytes]:
    return [line.encode() for value in values.values() for line in value.splitlines()]


def command_lines_with(values: Mapping[str, str]) -> list[str]:
    """Return the command lines of all processes of this machine in which a secret stands, those of containers too."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            found += [line.decode(errors="replace") for part in parts(values) if part in line]
    return found


def files_with(values: Mapping[str, str], *roots: Path) -> list[str]:
    found = []
    for path in (path for root in roots for path in root.rglob("*")):
        try:
            content = path.read_bytes() if path.is_file() else b""
        except OSError:
            continue
        found += [str(path) for part in parts(values) if part in content]
    return found


def engine_files(runtime: str) -> list[Path]:
    """Return where an engine keeps what it knows of containers, without their images."""
    if runtime == "docker":
        return [Path(said("docker", "info", "--format", "{{.DockerRootDir}}").strip(), "containers")]
    if runtime == "podman":
        graph, run = said("podman", "info", "--format", "{{.Store.GraphRoot}} {{.Store.RunRoot}}").split()
        return [*(Path(graph, name) for name in ("libpod", "overlay-containers", "vfs-containers")), Path(run)]
    return []


def begun(project: OneStep, runtime: str, step: str, values: Mapping[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "repro_env", "exec", "--runtime", runtime, step],
        cwd=project.root,
        env={**project.env, **values},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def runs(project: OneStep) -> set[Path]:
    return {*(project.root / ".repro" / "runs").glob("*")}


@every
@pytest.mark.parametrize("step", ["ask", "verified"])
def test_a_value_reaches_the_command_and_stands_nowhere(project: OneStep, runtime: str, step: str) -> None:
    values, before = some_secrets(), runs(project)
    with begun(project, runtime, step, values) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        first = running.stdout.readline().split()
        assert first, running.communicate()[1].decode()
        assert first[0].decode() == hashlib.sha256("".join(values.values()).encode()).hexdigest()
        [run] = runs(project) - before
        assert command_lines_with(values) == []
        assert files_with(values, project.root, *engine_files(runtime)) == []
        if runtime in {"docker", "podman"}:
            document = said(runtime, "inspect", f"repro-{run.name}")
            assert json.loads(document)[0]["Config"]["Hostname"] == "repro"
            assert not [part for part in parts(values) if part.decode() in document]
        out, err = running.communicate(b"word\nthe rest", timeout=TIMEOUT)
    assert running.returncode == 7, err.decode()
    assert out == b"word ***|***\r\n  ***\r\n  ***|the rest\n"
    told = b"told ***\n"
    assert told in err
    log = (run / "output.log").read_bytes()
    # The streams take turns in it, between any two writes of the step.
    assert sorted(log) == sorted(b" ".join(first) + b"\n" + out + told)
    assert log.count(b"***") == 5
    assert not [part for part in parts(values) if part in out + err + log]
    assert files_with(values, project.root, *engine_files(runtime)) == []
    record = json.loads((run / "record.json").read_text())
    assert record["predicate"]["buildDefinition"]["externalParameters"]["secrets"] == ["DEPLOY_KEY", "HF_TOKEN"]


@every
def test_a_command_that_is_not_there(project: OneStep, runtime: str) -> None:
    done = project.repro("exec", "--runtime", runtime, "lost", status=123, env=some_secrets())
    assert "nonesuch" in done.stderr


@every
def test_a_step_is_interrupted_as_ever(project: OneStep, runtime: str) -> None:
    with begun(project, runtime, "ask", some_secrets()) as running:
        assert running.stdout is not None
        assert running.stdout.readline()
        running.terminate()
        assert running.wait(TIMEOUT) == 143
