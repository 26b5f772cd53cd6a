"""`deterministic = true`, from repro.toml to what a step sees and its record says."""

from __future__ import annotations

import json
from pathlib import Path

from projects import PYTHON, OnDisk

from repro_env.lock.determinism import SETTINGS
from repro_env.lock.dump import dump_lock

TOML = f"""\
[project]
name = "numbers"

[base.slim]
debian = "bookworm"

[step.say]
base = "slim"
python = "{PYTHON}"
command = ["python", "say.py", "{{output.seen}}"]
outputs = {{ seen = "seen.json" }}
code = ["say.py"]
"""
SAY = "import json, os, sys; json.dump(dict(os.environ), open(sys.argv[1], 'w'))\n"
OWN = 'env = { OMP_NUM_THREADS = "8" }\n'


def locked(tmp_path: Path, more: str) -> OnDisk:
    project = OnDisk(tmp_path / "project")
    project.write("say.py", SAY)
    project.write("repro.toml", TOML + more)
    project.write("repro.lock", dump_lock(project.lock()))
    return project


def run(project: OnDisk) -> tuple[dict[str, str], bool, str]:
    """Run the step: return what it saw, whether its record says deterministic, and what was said."""
    answer = project.repro("exec", "--runtime", "venv", "say")
    assert answer.status == 0, answer
    [run_id] = (path.name for path in (project.root / ".repro" / "runs").iterdir())
    shown = project.repro("show", run_id).stdout
    seen: dict[str, str] = json.loads((project.root / "seen.json").read_text())
    return seen, "yes, says the step" in shown, answer.stderr


def test_a_step_sees_the_settings(tmp_path: Path) -> None:
    seen, recorded, said = run(locked(tmp_path, "deterministic = true\n"))
    assert {name: seen[name] for name in SETTINGS} == SETTINGS
    assert recorded
    assert "is deterministic but" not in said


def test_without_it_a_step_sees_none(tmp_path: Path) -> None:
    seen, recorded, _ = run(locked(tmp_path, ""))
    assert not recorded
    assert SETTINGS.keys().isdisjoint(seen)


def test_a_steps_own_env_goes_first_and_is_told(tmp_path: Path) -> None:
    project = locked(tmp_path, "deterministic = true\n" + OWN)
    seen, _, said = run(project)
    assert (seen["OMP_NUM_THREADS"], seen["MKL_NUM_THREADS"]) == ("8", "1")
    assert "step say is deterministic but for what its own env says: OMP_NUM_THREADS is 8, not 1" in said
    assert "OMP_NUM_THREADS is 8, not 1" in project.repro("lock").stderr
