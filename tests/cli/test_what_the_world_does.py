"""What the world does to whole commands: a status, one error in people's words, and no traceback."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from loopback import Fault, Server, serve
from pipeline import PLATFORM, SERVED, Pipeline, faults_of, make_pipeline

SMALL = "small-2.0-py3-none-any.whl"
LARGE = "large-1.0-py3-none-any.whl"
DEB = "pool/main/l/libx1/libx1_1.0-1_amd64.deb"
FOREVER = 99


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Pipeline, Server]]:
    with serve(tmp_path) as server:
        yield make_pipeline(tmp_path, server.url), server


@pytest.fixture
def pipeline(served: tuple[Pipeline, Server]) -> Pipeline:
    return served[0]


# Servers


@pytest.mark.parametrize(
    ("path", "fault", "status", "said"),
    [
        (f"files/{SMALL}", Fault(status=404, times=FOREVER), 6, "answered 404 Not Found"),
        (f"files/{SMALL}", Fault(status=403, times=FOREVER), 6, "hint: put the user name and password for 127.0.0.1"),
        (DEB, Fault(status=404, times=FOREVER), 6, f"cannot download http://127.0.0.1:PORT/{SERVED}/{DEB}"),
        (f"files/{SMALL}", Fault(content=b"another wheel", times=FOREVER), 7, f"{SMALL} is not the file that was"),
        (f"files/{SMALL}", Fault(content=b"<html>" * 9999, times=FOREVER), 7, "or answers with a page"),
        (DEB, Fault(content=b"another package", times=FOREVER), 7, "libx1_1.0-1_amd64.deb is not the file that was"),
        (f"files/{LARGE}", Fault(cut=1_000_000, times=FOREVER), 6, "127.0.0.1 broke off the connection"),
    ],
    ids=["absent", "forbidden", "deb-absent", "another-wheel", "a-page", "another-deb", "broken-off"],
)
def test_a_server_that_fails(served: tuple[Pipeline, Server], path: str, fault: Fault, status: int, said: str) -> None:
    pipeline, server = served
    server.fault(f"/{SERVED}/{path}", fault)
    answer = pipeline.repro("build")
    told = answer.stderr.replace(server.url, "http://127.0.0.1:PORT")
    assert answer.status == status, answer
    assert told.count("error: ") == 1
    assert said in told
    assert "Traceback" not in told
    server.fault(f"/{SERVED}/{path}", Fault(times=0))
    assert pipeline.repro("build").status == 0
    assert faults_of(pipeline.store) == []


@pytest.mark.parametrize("path", [f"files/{LARGE}", f"files/{SMALL}", DEB], ids=["large", "small", "deb"])
@pytest.mark.parametrize("fault", [Fault(cut=500), Fault(status=503), Fault(status=429)], ids=["cut", "503", "429"])
def test_a_server_that_recovers_is_no_failure(served: tuple[Pipeline, Server], path: str, fault: Fault) -> None:
    pipeline, server = served
    server.fault(f"/{SERVED}/{path}", fault)
    answer = pipeline.repro("build")
    assert answer.status == 0, answer
    assert faults_of(pipeline.store) == []


def test_a_server_that_goes_down_halfway(tmp_path: Path) -> None:
    with serve(tmp_path) as server:
        pipeline = make_pipeline(tmp_path, server.url)
        server.fault(f"/{SERVED}/files/{LARGE}", Fault(cut=1_000_000, times=FOREVER))
        assert pipeline.repro("build").status == 6
    answer = pipeline.repro("build")
    assert answer.status == 6, answer
    assert "cannot connect to 127.0.0.1" in answer.stderr
    assert faults_of(pipeline.store) == []
    (part,) = (pipeline.store / "partial").glob("*.part")
    assert part.stat().st_size >= 1_000_000, "what came is kept"


def test_an_index_that_goes_down_while_locking(served: tuple[Pipeline, Server]) -> None:
    pipeline, server = served
    pipeline.disk.write(
        "repro.toml", (pipeline.root / "repro.toml").read_text().replace('"large"]', '"large", "more"]')
    )
    before = (pipeline.root / "repro.lock").read_bytes()
    for path in ("small", "large", "more"):
        server.fault(f"/{SERVED}/simple/{path}/", Fault(status=502, times=FOREVER))
    answer = pipeline.repro("lock")
    assert answer.status in {5, 6}, answer
    assert "Traceback" not in answer.stderr
    assert (pipeline.root / "repro.lock").read_bytes() == before


# Files

Spoil = Callable[[Path], object]


def remove(name: str) -> Spoil:
    return lambda root: (root / name).unlink()


def write(name: str, content: bytes) -> Spoil:
    return lambda root: (root / name).write_bytes(content)


def hide(name: str) -> Spoil:
    return lambda root: (root / name).chmod(0)


def halve(name: str) -> Spoil:
    return lambda root: (root / name).write_bytes((root / name).read_bytes()[: (root / name).stat().st_size // 2])


LATIN_1 = '[project]\nname = "caf\xe9"\n'.encode("latin-1")
DEEP = b"a = " + b"[" * 20_000
RUN = ("exec", "--runtime", "venv", "clean")
OWNER = "hint: check the owner and the permissions of that path"


@pytest.mark.parametrize(
    ("spoil", "words", "status", "said"),
    [
        (remove("repro.toml"), ("build",), 3, "error: this is not a repro project"),
        (remove("repro.toml"), RUN, 120, "error: this is not a repro project"),
        (write("repro.toml", LATIN_1), ("lock", "--check"), 3, "error: repro.toml is not UTF-8\n  line 2: "),
        (write("repro.toml", b"[project\n"), ("build",), 3, "repro.toml:1: not valid TOML"),
        (write("repro.toml", DEEP), ("build",), 3, "repro.toml: not valid TOML: values are nested too deeply"),
        (write("repro.toml", b'a = "\0"'), ("status",), 3, "repro.toml:1: not valid TOML"),
        (hide("repro.toml"), ("lock", "--check"), 11, OWNER),
        (hide("repro.lock"), ("build",), 11, OWNER),
        (hide("repro.lock"), RUN, 121, OWNER),
        (write("repro.lock", b"\xff\xfe"), ("lock", "--check"), 4, "error: repro.lock is not UTF-8"),
        (write("repro.lock", b"\xff\xfe"), RUN, 120, "hint: restore it from version control"),
        (write("repro.lock", b""), ("build",), 4, "error: repro.lock is damaged"),
        (write("repro.lock", DEEP), ("lock", "--check"), 4, "values are nested too deeply"),
        (halve("repro.lock"), ("status",), 4, "error: repro.lock is damaged"),
        (halve("repro.lock"), ("lock",), 4, "hint: restore it from version control, or remove it and run repro lock"),
        (remove("raw.csv"), ("lock",), 9, "raw.csv does not exist"),
        (remove("raw.csv"), RUN, 122, "hint: put the data there, or correct its path"),
        (hide("raw.csv"), ("lock",), 11, "error: cannot read TMP/robust/raw.csv\n  TMP/robust/raw.csv: Permission"),
        (hide("raw.csv"), RUN, 121, OWNER),
        (remove("clean.sh"), ("build",), 8, "error: step clean has no code at 'clean.sh'"),
        (remove("clean.sh"), RUN, 121, "error: step clean has no code at 'clean.sh'"),
        (hide("clean.sh"), ("build",), 11, "error: cannot read clean.sh"),
        (hide("."), ("build",), 11, "Permission denied"),
        (lambda root: root.chmod(0o500), ("build",), 11, "error: cannot write TMP/robust/repro.lock"),
        (lambda root: root.chmod(0o500), RUN, 121, "error: cannot make TMP/robust/.repro/runs"),
        (write(".repro", b""), RUN, 121, "error: cannot make TMP/robust/.repro/runs"),
        (write("build", b"a file, where a directory is needed"), RUN, 121, "error: cannot move output table"),
        (lambda root: (root / "build").mkdir(mode=0o500), RUN, 121, "error: cannot move output table"),
    ],
)
def test_a_file_that_cannot_be_used(
    pipeline: Pipeline, spoil: Spoil, words: tuple[str, ...], status: int, said: str
) -> None:
    assert pipeline.repro("exec", "--runtime", "venv", "clean").status == 0  # what is in the store costs no time again
    shutil.rmtree(pipeline.root / "build")
    shutil.rmtree(pipeline.root / ".repro")
    spoil(pipeline.root)
    try:
        answer = pipeline.repro_as_anyone(*words)
    finally:
        subprocess.run(["chmod", "-R", "u+rwX", str(pipeline.root)], check=True)
    assert answer.status == status, answer
    assert said in answer.stderr
    assert answer.stderr.count("error: ") == 1
    assert "Traceback" not in answer.stderr


def test_a_store_that_may_not_be_written(pipeline: Pipeline) -> None:
    pipeline.store.mkdir(mode=0o500)
    answer = pipeline.repro_as_anyone("build")
    assert answer.status == 11, answer
    assert f"error: cannot use the store at TMP/store\n  TMP/store/blobs: Permission denied\n{OWNER}\n" == answer.stderr


def test_blobs_that_may_not_be_read(pipeline: Pipeline) -> None:
    assert pipeline.repro("build").status == 0
    pipeline.forget_images()
    environment = pipeline.lock.steps["clean"].environments[PLATFORM]
    shutil.rmtree(pipeline.store / "derived")
    for wheel in environment.wheels:
        (pipeline.store / "blobs" / "sha256" / wheel.sha256.hex).chmod(0)
    answer = pipeline.repro_as_anyone("build")
    assert answer.status == 11, answer
    assert OWNER in answer.stderr
    assert "Traceback" not in answer.stderr


# Where output goes


def shell(pipeline: Pipeline, script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", script, "bash", sys.executable],
        cwd=pipeline.root,
        env={**os.environ, **pipeline.disk.env, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("words", ["build", "status", "lock --check"])
def test_output_that_goes_nowhere(pipeline: Pipeline, words: str) -> None:
    full = shell(pipeline, f'"$1" -m repro_env {words} > /dev/full')
    assert full.returncode == 11
    assert "No space left on device" in full.stderr
    assert "Traceback" not in full.stderr
    closed = shell(pipeline, f'"$1" -m repro_env {words} >&- 2>&-')
    assert closed.returncode == 0
    gone = shell(pipeline, f'"$1" -m repro_env {words} | true; echo "${{PIPESTATUS[0]}}"')
    assert gone.stdout in {"141\n", "0\n"}  # 0 where the output was written before its reader went away
    assert "Traceback" not in gone.stderr
    assert "Exception ignored" not in gone.stderr


def test_a_directory_that_is_gone(pipeline: Pipeline) -> None:
    done = shell(pipeline, 'mkdir gone && cd gone && rmdir ../gone && "$1" -m repro_env status')
    assert done.returncode == 11
    assert done.stderr == "error: cannot look at the current directory\n  No such file or directory\n"


@pytest.mark.parametrize(
    ("limit", "said"), [("-f 100", "File too large"), ("-n 12", "hint: let this process open more files")]
)
def test_limits_of_the_process(pipeline: Pipeline, limit: str, said: str) -> None:
    done = shell(pipeline, f'ulimit {limit}; "$1" -m repro_env build')
    assert done.returncode == 11, done
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert pipeline.repro("build").status == 0
    assert faults_of(pipeline.store) == []
