"""How `repro exec` has a machine verified in the container that it starts."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import locks
import pytest
import tiny

from repro_env.cli.checking import (
    can_check,
    check_beside_image,
    check_in_image,
    read_verification,
    write_verification,
)
from repro_env.config.machine import HostRequest
from repro_env.run.mounts import Mount
from repro_env.run.plan import Check, checked, mounts, shown
from repro_env.values import PythonVersion
from repro_env.verify.findings import met, not_met
from repro_env.verify.needs import Needs
from repro_env.verify.program import program_files
from repro_env.verify.report import Verification

NEEDS = Needs(project="churn", step="train", platform="linux/amd64", host=HostRequest(cpus=2))


def test_the_command_is_started_by_the_check(tmp_path: Path) -> None:
    plan = tiny.tiny_plan(tiny.tiny_step("python", "train.py", env={"A": "1"}), tmp_path, image=None)
    found = Mount(source=Path("/r/verify.json"), target="/run/repro/verify.json", read_only=False)
    check = Check(command=("/check", "-x"), variables={"REPRO_ALLOW": "disk"}, mounts=(found,))
    wrapped = checked(plan, check)
    assert wrapped.argv == ("/check", "-x", "python", "train.py")
    assert wrapped.variables == {**plan.variables, "REPRO_ALLOW": "disk"}
    assert list(wrapped.variables) == sorted(wrapped.variables)
    assert mounts(wrapped) == (mounts(plan)[0], *shown(wrapped))
    assert shown(wrapped) == (*plan.inputs, found, shown(plan)[-1])
    assert replace(wrapped, argv=plan.argv, variables=plan.variables, beside=()) == plan


def test_a_step_image_has_the_program(tmp_path: Path) -> None:
    check = check_in_image(tmp_path, {"shm", "cpus"})
    assert check.command == ("/opt/env/bin/python", "-I", "-S", "-B", "/repro/verify/enter.py")
    assert check.variables == {"REPRO_ALLOW": "cpus,shm", "REPRO_FINDINGS": "/run/repro/verify.json"}
    assert check.mounts == (Mount(source=tmp_path / "verify.json", target="/run/repro/verify.json", read_only=False),)
    assert (tmp_path / "verify.json").read_bytes() == b""


@pytest.mark.parametrize(("name", "disabled"), [("driver", True), ("memory", False)])
def test_what_is_allowed_is_not_refused_by_nvidias_toolkit(tmp_path: Path, name: str, *, disabled: bool) -> None:
    assert ("NVIDIA_DISABLE_REQUIRE" in check_in_image(tmp_path, {name}).variables) is disabled


def test_what_asks_nothing_loads_nothing_of_it() -> None:
    code = (
        "import sys, repro_env.cli.running, repro_env.cli.exec_command, repro_env.cli.build_command; "
        "late = {'pynvml', 'repro_env.verify.needs', 'repro_env.cli.checking'}; print(sorted(late & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"


def test_an_environment_image_is_given_it(tmp_path: Path) -> None:
    lock = locks.churn()
    step = replace(lock.steps["train"], host=HostRequest(cpus=2))
    check = check_beside_image(tmp_path, lock, step, locks.AMD64, ())
    assert check.command[-1] == "/run/repro/check/verify/enter.py"
    assert check.variables == {"REPRO_FINDINGS": "/run/repro/verify.json"}
    assert check.mounts[0] == Mount(source=tmp_path / "check", target="/run/repro/check")
    written = {
        str(path.relative_to(tmp_path / "check")): path.read_bytes()
        for path in (tmp_path / "check").rglob("*")
        if path.is_file()
    }
    needs = Needs.from_dict(json.loads(written.pop("needs.json")))
    assert (needs.step, needs.host) == ("train", HostRequest(cpus=2))
    assert written == {f"verify/{name}": content for name, content in program_files().items()}


@pytest.mark.parametrize(("minor", "can"), [(7, False), (8, True), (13, True)])
def test_which_pythons_can(minor: int, *, can: bool) -> None:
    assert can_check(PythonVersion(minor)) is can


def test_without_a_container_the_same_document_is_written(tmp_path: Path) -> None:
    findings = (met("platform", "linux/amd64", "linux/amd64"), not_met("cpus", "2 CPUs", "1"))
    write_verification(tmp_path, Verification(needs=NEEDS, findings=findings, allowed=frozenset({"cpus"})))
    document = read_verification(tmp_path)
    assert document is not None
    assert (document["step"], document["ok"], document["started"]) == ("train", True, True)
    assert [(one["name"], one["allowed"]) for one in document["findings"]] == [("platform", False), ("cpus", True)]


def test_a_check_that_was_never_reached_leaves_nothing(tmp_path: Path) -> None:
    check_in_image(tmp_path, ())
    assert read_verification(tmp_path) is None
    assert not (tmp_path / "verify.json").exists()
    assert read_verification(tmp_path) is None


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"started": 1}', "null"])
def test_what_a_step_wrote_over_it_is_not_believed(tmp_path: Path, text: str) -> None:
    (tmp_path / "verify.json").write_text(text)
    assert read_verification(tmp_path) is None
