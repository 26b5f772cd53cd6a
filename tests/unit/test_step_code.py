"""Which files of a project are a step's code, and which never are."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import locks
import pytest

from repro_env.build import code as code_module
from repro_env.build.code import Code, CodeFile, code_layer, copy_code, find_code
from repro_env.build.images import LARGE_CODE, warn_of_code
from repro_env.build.secret_files import secret_in
from repro_env.errors import BuildError, StoreError
from repro_env.image.store import Store
from repro_env.lock.model import Lock, LockedStep
from repro_env.values import PythonVersion

KEY = b"-----BEGIN RSA PRIVATE KEY-----\nMIIE\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    return root


def write(root: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def track(root: Path) -> None:
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    subprocess.run(["git", "add", "-A", "-f"], cwd=root, check=True)


def step(*patterns: str, default: bool = False) -> LockedStep:
    code = None if default else patterns
    return LockedStep(name="clean", base="slim", python=PythonVersion(11), command=("python",), code=code)


def names(root: Path, *patterns: str, default: bool = False) -> list[str]:
    return [file.path for file in find(root, *patterns, default=default).files]


def find(root: Path, *patterns: str, default: bool = False) -> Code:
    return find_code(step(*patterns, default=default), lock(), root)


def lock() -> Lock:
    return locks.churn()  # data at data/raw, outputs in build/


class TestWhatIsCode:
    """Globs, or what git tracks."""

    def test_globs_directories_and_names(self, project: Path) -> None:
        write(project, {"a.py": b"", "b.txt": b"", "src/x/y.py": b"", "src/z.cfg": b""})
        assert names(project, "*.py", "src") == ["a.py", "src/x/y.py", "src/z.cfg"]
        assert names(project, "**/*.py") == ["a.py", "src/x/y.py"]
        assert names(project, "./a.py") == ["a.py"]

    def test_without_code_it_is_what_git_tracks_less_data_and_outputs(self, project: Path) -> None:
        write(project, {"a.py": b"", "data/raw/1.csv": b"", "build/table.parquet": b"", "sub/é.py": b""})
        track(project)
        write(project, {"untracked.py": b""})
        assert names(project, default=True) == ["a.py", "sub/é.py"]

    def test_a_hook_of_git_leads_to_no_other_repository(self, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """As in a worktree, where git gives hooks GIT_DIR, and every directory would be the top of that repository."""
        write(project, {"sub/a.py": b""})
        track(project)
        monkeypatch.setenv("GIT_DIR", str(project / ".git"))
        monkeypatch.setenv("GIT_INDEX_FILE", str(project / "nowhere"))
        assert names(project / "sub", default=True) == ["a.py"]

    def test_a_tracked_file_that_was_removed_is_no_code(self, project: Path) -> None:
        write(project, {"a.py": b"", "b.py": b""})
        track(project)
        (project / "b.py").unlink()
        assert names(project, default=True) == ["a.py"]

    def test_what_describes_all_steps_belongs_to_none_unless_named(self, project: Path) -> None:
        write(project, {"a.py": b"", "repro.toml": b"", "repro.lock": b"", "sub/repro.toml": b""})
        track(project)
        assert names(project, default=True) == ["a.py", "sub/repro.toml"]
        assert names(project, ".") == ["a.py", "sub/repro.toml"]
        assert names(project, ".", "repro.toml") == ["a.py", "repro.toml", "sub/repro.toml"]

    def test_the_state_directory_is_never_code(self, project: Path) -> None:
        write(project, {"a.py": b"", ".repro/runs/1/record.json": b"{}"})
        track(project)
        assert names(project, default=True) == names(project, ".") == ["a.py"]

    @pytest.mark.parametrize("folder", ["env", ".venv", "deep/er/my-env"])
    def test_virtual_environments_are_never_code(self, project: Path, folder: str) -> None:
        environment = {f"{folder}/pyvenv.cfg": b"home = /usr/bin\n", f"{folder}/lib/python3.11/site-packages/x.py": b""}
        write(project, {"deep/a.py": b"", **environment})
        assert names(project, ".") == names(project, "**/*.py") == names(project, "deep") == ["deep/a.py"]
        track(project)
        assert names(project, default=True) == ["deep/a.py"]

    def test_a_project_inside_a_virtual_environment_has_code(self, project: Path) -> None:
        write(project, {"pyvenv.cfg": b"", "src/a.py": b""})
        track(project)
        assert names(project, default=True) == names(project, ".") == ["pyvenv.cfg", "src/a.py"]

    def test_a_glob_that_matches_nothing_is_an_error(self, project: Path) -> None:
        with pytest.raises(BuildError, match=r"no code at 'missing.py'"):
            find(project, "missing.py")

    def test_a_directory_that_cannot_be_listed_is_an_error(
        self, project: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(project, {"src/a.py": b"", "src/closed/b.py": b""})
        scandir = os.scandir

        def refusing(path: Any) -> Any:
            if str(path).endswith("closed"):
                raise PermissionError(13, "Permission denied", str(path))
            return scandir(path)

        monkeypatch.setattr(os, "scandir", refusing)
        with pytest.raises(StoreError, match="cannot read the step's code") as caught:
            find(project, "src")
        assert caught.value.why == f"{project}/src/closed: Permission denied"

    def test_outputs_are_not_even_looked_into(self, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        output = next(path for each in lock().steps.values() for path in each.outputs.values())
        write(project, {"src/a.py": b"", f"{output}/part": b""})
        seen: list[str] = []
        scandir = os.scandir

        def noting(path: Any) -> Any:
            seen.append(str(path))
            return scandir(path)

        monkeypatch.setattr(os, "scandir", noting)
        assert names(project, ".") == ["src/a.py"]
        assert f"{project}/src" in seen
        assert f"{project}/{output}" not in seen

    def test_why_git_lists_nothing_is_said(self, project: Path) -> None:
        with pytest.raises(BuildError, match="git lists nothing here") as caught:
            find(project, default=True)
        assert "not a git repository" in caught.value.why

    def test_links_inside_the_project_are_kept_and_others_refused(self, project: Path) -> None:
        write(project, {"src/a.py": b""})
        (project / "src" / "b.py").symlink_to("a.py")
        (linked,) = [file for file in find(project, "src").files if file.link]
        assert (linked.path, linked.link) == ("src/b.py", "a.py")
        (project / "src" / "out").symlink_to("../../elsewhere")
        with pytest.raises(BuildError, match="link out of the project"):
            find(project, "src")


class TestSecrets:
    """What people forget is left out and named."""

    @pytest.mark.parametrize(
        ("path", "content"),
        [
            (".env", b""),
            ("conf/.env.production", b""),
            ("prod.env", b""),
            ("certs/server.pem", b"x\n" + KEY),
            ("tls.key", b"-----BEGIN PRIVATE KEY-----\n"),
            ("id_rsa", b""),
            ("keys/id_ed25519", b""),
            ("credentials.json", b"{}"),
            ("gcp/my-project-1234.json", b'{"type": "service_account",\n "private_key": "-----BEGIN'),
            (".netrc", b""),
            (".pypirc", b""),
            (".npmrc", b"//registry.npmjs.org/:_authToken=npm_x\n"),
            (".kube/config", b""),
            ("kubeconfig.yaml", b""),
            ("stage.kubeconfig", b""),
            (".aws/credentials", b""),
            ("aws/credentials", b"[default]\naws_secret_access_key = x\n"),
            (".docker/config.json", b'{"auths": {"r.example": {"auth": "eDp5"}}}'),
            ("pip.conf", b"index-url = https://me:secret@pypi.example/simple\n"),
            ("store.p12", b""),
        ],
    )
    def test_is_left_out_and_named(self, project: Path, path: str, content: bytes) -> None:
        write(project, {"a.py": b"", path: content})
        track(project)
        for code in (find(project, default=True), find(project, "."), find(project, "**/*", "a.py")):
            assert [file.path for file in code.files] == ["a.py"]
            assert [(secret.path, secret.left_out) for secret in code.secrets] == [(path, True)]

    @pytest.mark.parametrize(
        ("path", "content"),
        [
            (".env.example", b"TOKEN=\n"),
            (".env.prod.template", b""),
            ("cert.pem", b"-----BEGIN CERTIFICATE-----\n"),
            ("id_rsa.pub", b""),
            ("environment.py", b""),
            ("config.json", b'{"auth": 1}'),
            ("notebook.json", b"{}"),
            (".npmrc", b"save-exact=true\n# _authToken=x\n"),
            ("kube/config", b""),
            ("pip.conf", b"index-url = https://pypi.example/simple\n"),
            ("keys.key", b"a = 1"),
            ("credentials.py", b""),
        ],
    )
    def test_what_only_looks_alike_stays(self, project: Path, path: str, content: bytes) -> None:
        write(project, {path: content})
        assert names(project, ".") == [path]

    def test_one_that_code_names_goes_in(self, project: Path) -> None:
        write(project, {"a.py": b"", "conf/.env": b"", ".env": b""})
        code = find(project, ".", "conf/.env")
        assert [file.path for file in code.files] == ["a.py", "conf/.env"]
        assert {secret.path: secret.left_out for secret in code.secrets} == {".env": True, "conf/.env": False}

    def test_a_pattern_that_matches_it_does_not_name_it(self, project: Path) -> None:
        write(project, {"a.py": b"", "conf/.env": b""})
        assert names(project, "a.py", "conf/.env*", "conf") == ["a.py"]

    def test_are_named_in_one_warning_for_all_steps(self, project: Path, recorded: Any) -> None:
        write(project, {"a.py": b"", ".env": b"", "id_rsa": b"", "b.pem": KEY})
        code = find(project, ".", "b.pem")
        warn_of_code({"one": code, "two": code}, lock(), recorded)
        left_out, included = recorded.warnings
        assert left_out.count(".env") == left_out.count("id_rsa") == 1
        assert "b.pem" not in left_out
        assert "b.pem: a private key" in included

    def test_ordinary_files_are_not_opened_for_it(self) -> None:
        def refuse(_count: int) -> bytes:
            raise AssertionError

        assert not secret_in("src/train.py", refuse)
        assert not secret_in("data.parquet", refuse)


class TestSize:
    """What a step's code weighs."""

    def test_the_largest_files_are_named_when_there_is_much(self, project: Path, recorded: Any) -> None:
        write(project, {"a.py": b"x = 1\n"})
        with (project / "weights.bin").open("wb") as stream:
            stream.truncate(LARGE_CODE)
        code = find(project, ".")
        warn_of_code({"one": code, "two": code, "small": find(project, "a.py")}, lock(), recorded)
        (said,) = recorded.warnings
        assert said.startswith("the code of steps one, two is 10.0 MiB: weights.bin (10.0 MiB), a.py (6 B)\n")
        assert code.size == LARGE_CODE + 6

    def test_little_is_no_warning(self, project: Path, recorded: Any) -> None:
        write(project, {"a.py": b"x = 1\n"})
        warn_of_code({"one": find(project, ".")}, lock(), recorded)
        assert recorded.warnings == []

    def test_none_is_told_of_unless_the_step_says_so(self, project: Path, recorded: Any) -> None:
        write(project, {"a.py": b"", "repro.toml": b""})
        subprocess.run(["git", "init", "-q"], cwd=project, check=True)
        subprocess.run(["git", "add", "repro.toml"], cwd=project, check=True)
        steps = {"one": step(default=True), "two": step()}
        codes = {"one": find(project, default=True), "two": find(project)}
        warn_of_code(codes, replace(lock(), steps=steps), recorded)
        (said,) = recorded.warnings
        assert said.startswith("step one holds no code: git tracks none in this project\n")


class TestWhileItIsRead:
    """A project that something writes to."""

    def test_a_file_that_vanishes_is_said_so(self, project: Path, store: Store) -> None:
        write(project, {"a.py": b"", "b.py": b""})
        files = find(project, ".").files
        (project / "b.py").unlink()
        with pytest.raises(BuildError, match=r"b.py vanished while the step's code was read"):
            code_layer(files, b"{}", store)
        with pytest.raises(BuildError, match=r"b.py vanished"):
            copy_code(files, project.parent / "copy")

    def test_between_listing_and_looking(self, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write(project, {"a.py": b""})
        listed = code_module._below
        monkeypatch.setattr(code_module, "_below", lambda *words: [*listed(*words), "gone.py"])
        with pytest.raises(BuildError, match=r"gone.py vanished"):
            find(project, ".")

    def test_a_file_that_grows_is_said_so(self, project: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        write(project, {"log.txt": b"12345"})
        files = find(project, ".").files
        real: Callable[[int], os.stat_result] = os.fstat

        def smaller(descriptor: int) -> os.stat_result:
            found = list(real(descriptor))
            found[6] = 3
            return os.stat_result(found)

        monkeypatch.setattr(os, "fstat", smaller)
        with pytest.raises(BuildError, match=r"log.txt changed while"):
            code_layer(files, b"{}", store)


def test_the_layer_depends_on_paths_modes_and_content_alone(project: Path, store: Store) -> None:
    write(project, {"a.py": b"1", "sub/b.sh": b"2"})
    (project / "sub" / "b.sh").chmod(0o700)
    first = code_layer(find(project, ".").files, b"{}", store)
    os.utime(project / "a.py", (1, 1))
    (project / "a.py").chmod(0o666)
    (project / "sub" / "b.sh").chmod(0o755)
    assert code_layer(find(project, "sub", "a.py").files, b"{}", store) == first
    assert code_layer([CodeFile("a.py", project / "a.py")], b"{}", store) != first
