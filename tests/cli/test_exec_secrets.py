"""Secrets of a step, from repro.toml to what it sees, and all the places where their values must not be."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from projects import PYTHON, OnDisk
from repeated import Repeated

Golden = Callable[[str, str], None]

TOML = f"""\
[project]
name = "telling"

[base.slim]
debian = "bookworm"

[step.tell]
base = "slim"
python = "{PYTHON}"
command = ["python", "tell.py", "{{output.seen}}"]
outputs = {{ seen = "seen.txt" }}
secrets = ["HF_TOKEN", "DEPLOY_KEY"]
code = ["tell.py"]
"""
TELL = """\
import os, pathlib, sys
token, key = os.environ["HF_TOKEN"], os.environ["DEPLOY_KEY"]
pathlib.Path(sys.argv[1]).write_text(str(len(token) + len(key)))
print("the token is", token[:5], end="", flush=True)
print(token[5:], flush=True)
print("the key is", *key.splitlines(), sep="\\n    ", file=sys.stderr)
print("SOMETHING_ELSE" in os.environ)
"""
TOKEN, KEY = "hf_1234567890abcdef", "-----BEGIN-----\nMIIEvQIBADANBgkq\n-----END-----"
GIVEN = {"HF_TOKEN": TOKEN, "DEPLOY_KEY": KEY, "SOMETHING_ELSE": "x"}


def telling(tmp_path: Path) -> OnDisk:
    project = OnDisk(tmp_path / "telling", GIVEN)
    project.write("tell.py", TELL)
    project.write("repro.toml", TOML)
    project.lock()
    return project


def everything_written(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.rglob("*") if path.is_file())


def holds_a_value(text: bytes) -> bool:
    return any(part.encode() in text for part in (TOKEN, *KEY.splitlines()))


def test_what_is_missing_is_told_at_once_and_no_run_begins(tmp_path: Path, golden: Golden) -> None:
    project = replace(telling(tmp_path), env={"DEPLOY_KEY": "", "HF_TOKEN": ""})
    answer = project.repro("exec", "--runtime", "venv", "tell", before=("env", "--unset=HF_TOKEN"))
    golden("exec-no-secrets.txt", str(answer))
    assert answer.status == 122
    assert not (project.root / ".repro").exists()


def test_the_step_has_them_and_nothing_keeps_them(tmp_path: Path) -> None:
    project = telling(tmp_path)
    answer = project.repro("exec", "--runtime", "venv", "--json", "tell")
    assert answer.status == 0, answer
    assert (project.root / "seen.txt").read_text() == str(len(TOKEN) + len(KEY))
    assert answer.stdout == "the token is ***\nFalse\n"
    assert "the key is\n    ***\n    ***\n    ***\n" in answer.stderr
    [directory] = (project.root / ".repro" / "runs").iterdir()
    assert b"the token is ***\n" in (directory / "output.log").read_bytes()
    assert not holds_a_value(everything_written(tmp_path))
    assert not holds_a_value(f"{answer}".encode())
    parameters = json.loads((directory / "record.json").read_text())["predicate"]["buildDefinition"][
        "externalParameters"
    ]
    assert parameters["secrets"] == ["DEPLOY_KEY", "HF_TOKEN"]
    assert {"DEPLOY_KEY", "HF_TOKEN"} <= {*parameters["environment"]}
    assert "variables" not in parameters


def test_a_run_is_shown_repeated_and_told_to_others_by_their_names(tmp_path: Path) -> None:
    project = telling(tmp_path)
    assert project.repro("exec", "--runtime", "venv", "tell").status == 0
    assert "DEPLOY_KEY, HF_TOKEN" in project.repro("show", "tell").stdout
    for kind in ("slsa", "openlineage", "ro-crate", "cyclonedx", "mlflow", "wandb", "html"):
        answer = project.repro("show", "tell", "--format", kind)
        assert answer.status == 0, answer
        assert not holds_a_value(answer.stdout.encode())
    assert project.repro("show", "tell", "--bundle", str(tmp_path / "run.bundle")).status == 0
    assert not holds_a_value(everything_written(tmp_path))


def test_what_compares_nothing_and_checks_nothing_asks_for_none(tmp_path: Path) -> None:
    project = telling(tmp_path)
    assert project.repro("exec", "--runtime", "venv", "tell").status == 0
    bare = replace(project, env={"HF_TOKEN": "", "DEPLOY_KEY": ""})
    for words in (("status",), ("verify",), ("lock", "--check"), ("runs",), ("show", "tell")):
        answer = bare.repro(*words)
        assert answer.status == 0, answer


def test_two_runs_with_other_secrets_differ_in_their_names(tmp_path: Path) -> None:
    project = telling(tmp_path)
    assert project.repro("exec", "--runtime", "venv", "tell").status == 0
    [first] = (path.name for path in (project.root / ".repro" / "runs").iterdir())
    project.write("repro.toml", TOML.replace('"DEPLOY_KEY"]', '"DEPLOY_KEY", "SOMETHING_ELSE"]'))
    project.lock()
    assert project.repro("exec", "--runtime", "venv", "tell").status == 0
    [second] = {path.name for path in (project.root / ".repro" / "runs").iterdir()} - {first}
    answer = project.repro("diff", first, second)
    assert answer.status == 0, answer
    assert "secrets DEPLOY_KEY, HF_TOKEN -> DEPLOY_KEY, HF_TOKEN, SOMETHING_ELSE" in answer.stdout
    assert answer.stdout.count("  secrets ") == 1


def test_what_looks_like_a_secret_in_env_is_warned_of_with_the_remedy(tmp_path: Path) -> None:
    project = OnDisk(tmp_path / "telling")
    project.write("tell.py", TELL)
    project.write("repro.toml", TOML.replace("secrets = [", 'env = { API_TOKEN = "abcdef" }\nsecrets = ['))
    project.lock()
    said = project.repro("lock").stderr
    assert "step tell declares API_TOKEN, which looks like a secret" in said
    assert "name it in `secrets` instead" in said


def test_a_run_is_repeated_with_the_secrets_it_had_and_their_values_of_now(tmp_path: Path) -> None:
    project = telling(tmp_path)
    project.write(".gitignore", ".repro/\nseen.txt\n")
    committed = Repeated(project)
    committed.git("init", "--quiet")
    committed.commit()
    assert project.repro("exec", "--runtime", "venv", "tell").status == 0
    answer = replace(project, env={"DEPLOY_KEY": KEY, "HF_TOKEN": ""}).repro("reproduce")
    assert answer.status == 9, answer
    assert "HF_TOKEN is empty\n" in answer.stderr
    assert "DEPLOY_KEY" not in answer.stderr
    other = TOKEN[::-1]
    answer = replace(project, env={**GIVEN, "HF_TOKEN": other}).repro("reproduce")
    assert answer.status == 0, answer
    assert "the token is ***\n" in answer.stdout
    assert not holds_a_value(everything_written(tmp_path))
    assert other.encode() not in everything_written(tmp_path)
