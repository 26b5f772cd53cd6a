"""The apptainer runtime against a program that stands in for apptainer: it records what it is told, and obeys a little.

No real apptainer has run these: what is held here is our side of the agreement.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import tiny

from repro_env.edges.report import Silent
from repro_env.image.store import Store
from repro_env.run.gpus import GpuDevice, GpuGrant, Passing
from repro_env.run.plan import Input
from repro_env.run.runtimes.apptainer import Apptainer
from repro_env.run.runtimes.choose import choose_for, runtimes_of

STAND_IN = """\
#!{python}
import json, os, signal, sys, time
if sys.argv[1:] == ["--version"]:
    sys.exit(print("apptainer version 1.3.4"))
mounts = [word for before, word in zip(sys.argv, sys.argv[1:]) if before == "--mount"]
root = sys.argv[sys.argv.index("--pwd") + 2]
command = sys.argv[sys.argv.index(root) + 1:]
work = sys.argv[sys.argv.index("--workdir") + 1]
record = dict(arguments=sys.argv[1:], environment=dict(os.environ), mounts=mounts, root=os.listdir(root),
              work=os.listdir(work), command=command)
json.dump(record, open({record!r}, "w"))
output = next(m for m in mounts if m.endswith("destination=/repro/output")).split("source=")[1].split(",")[0]
open(os.path.join(output, "made"), "w").close()
if command[0] == "wait":
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(9))
    print("ready", flush=True)
    time.sleep(60)
print("out of the container")
sys.exit(int(command[-1]))
"""


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install the stand-in; what it was told is in the file that is returned."""
    program, told = tmp_path / "bin/apptainer", tmp_path / "told.json"
    program.parent.mkdir()
    program.write_text(STAND_IN.format(python=sys.executable, record=str(told)))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("APPTAINER_BIND", "/home")
    return told


@pytest.fixture(autouse=True)
def _busybox() -> None:
    if not tiny.BUSYBOX.exists():
        pytest.skip("busybox is not installed")


def run(store: Store, root: Path, *command: str, gpus: Passing | None = None) -> tuple[int, str]:
    (root / "raw").mkdir(exist_ok=True)
    step = tiny.tiny_step(*command, inputs=["raw"], outputs={"model": "made"}, env={"LIST": "a,b c", "HOME": "/x"})
    entries = [Input(name="raw", declared="data/raw", source=root / "raw")]
    plan = tiny.tiny_plan(step, root, image=tiny.tiny_image(store), inputs=entries, gpus=gpus or Passing())
    plan.output.mkdir(parents=True)
    ended = Apptainer(store, Silent()).run(plan, log=root / "log")
    assert (plan.output / "made").exists()
    assert sorted(path.name for path in plan.output.parent.iterdir()) == ["output"], "temporary files are removed"
    return ended.status, (root / "log").read_text()


def told(record: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(record.read_text())
    return document


def test_the_command_its_places_and_its_environment(record: Path, store: Store, tmp_path: Path) -> None:
    assert run(store, tmp_path, "train", "{output.model}", "7") == (7, "out of the container\n")
    found = told(record)
    assert found["command"] == ["train", "/repro/output/made", "7"]
    assert {"bin", "repro"} <= set(found["root"])
    assert found["work"] == ["home"]
    assert [mount.split("destination=")[1] for mount in found["mounts"]] == [
        "/repro/code,ro",
        "/repro/input/raw/raw,ro",
        "/repro/output",
    ]
    variables = found["environment"]
    assert variables["APPTAINERENV_LIST"] == "a,b c"
    assert variables["APPTAINERENV_REPRO_STEP"] == "train"
    assert not {"APPTAINERENV_HOME", "APPTAINER_BIND", "HOME", "SECRET"}.intersection(variables)
    assert "--net --network none" in " ".join(found["arguments"])
    assert "--nv" not in found["arguments"]


def test_gpus(record: Path, store: Store, tmp_path: Path) -> None:
    runtime, passing = choose_for(
        runtimes_of(store, Silent()), GpuGrant(devices=(GpuDevice(index=3, uuid="GPU-3"),)), asked="apptainer"
    )
    assert runtime.name == "apptainer"
    assert run(store, tmp_path, "train", "0", gpus=passing)[0] == 0
    found = told(record)
    assert "--nv" in found["arguments"]
    assert found["environment"]["APPTAINERENV_CUDA_VISIBLE_DEVICES"] == "3"


def test_a_signal_reaches_it(record: Path, store: Store, tmp_path: Path) -> None:
    def interrupt() -> None:
        while not record.exists() or "ready" not in (tmp_path / "log").read_text():
            threading.Event().wait(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    sender = threading.Thread(target=interrupt)
    sender.start()
    assert run(store, tmp_path, "wait", "0")[0] == 9
    sender.join()


def test_without_it_the_reason_is_said(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    absence = Apptainer(store, Silent()).unavailable()
    assert absence is not None
    assert absence.reason == "apptainer is not installed"
