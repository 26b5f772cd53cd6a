"""Image bases end to end: a base that repro itself built of Debian packages, in a registry, locked, built on, run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import machine
import pytest
from registry import Registry, run_registry

from repro_env.image.oci import validate
from repro_env.image.store import Store
from repro_env.lock.model import ImageRoot, Lock
from repro_env.lock.parse import parse_lock
from repro_env.values import Digest, Platform

pytestmark = [pytest.mark.network, pytest.mark.xdist_group("image-bases")]

AMD64, ARM64 = Platform("amd64"), Platform("arm64")

BASE = """\
[project]
name = "base"
platforms = ["linux/amd64", "linux/arm64"]

[base.slim]
debian = "bookworm"

[step.base]
base = "slim"
python = "3.11"
command = ["python"]
code = ["main.py"]
"""

DERIVED = """\
[project]
name = "derived"
{platforms}
[base.image]
image = "{reference}"

[step.main]
base = "image"
python = "3.11"
dependencies = ["packaging==24.2", "markupsafe==3.0.2"]
command = ["python", "main.py", "{{output.found}}"]
outputs = {{ found = "found.json" }}
code = ["main.py"]
"""

MAIN = """\
import json, markupsafe._speedups, os, packaging, sys
found = {
    "packaging": packaging.__version__,
    "speedups": markupsafe._speedups.__file__,
    "version": sys.version.split()[0],
    "prefix": sys.prefix,
    "base": sys.base_prefix,
    "etc": open("/etc/os-release").read().splitlines()[0],
}
json.dump(found, open(sys.argv[1], "w"))
"""


@dataclass(frozen=True, slots=True)
class OnDisk:
    """A project in a directory, and the store it uses."""

    root: Path
    store: Path

    def repro(self, *words: str, status: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "repro_env", *words],
            cwd=self.root,
            env={**os.environ, "REPRO_STORE": str(self.store)},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == status, done.stderr
        return done.stdout if status == 0 else done.stderr

    @property
    def lock(self) -> Lock:
        return parse_lock((self.root / "repro.lock").read_text())


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with run_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, registry: Registry, shared_store: Store) -> str:
    """The reference of an index of a Debian base for two platforms, built here without emulation."""
    root = tmp_path_factory.mktemp("base")
    (root / "repro.toml").write_text(BASE)
    (root / "main.py").write_text("")
    project = OnDisk(root, shared_store.root)
    project.repro("lock")
    pushed = json.loads(project.repro("build", "--push", f"{registry.host}/base", "--json"))["pushed"]
    return f"{pushed[0]['reference']}@{pushed[0]['digest']}"


@pytest.fixture
def derived(tmp_path: Path, base: str) -> OnDisk:
    """A project on that base, with a store that has nothing."""
    return derive(tmp_path, base.partition("@")[0])


def derive(directory: Path, reference: str, platforms: str = "") -> OnDisk:
    root = directory / "project"
    root.mkdir()
    (root / "repro.toml").write_text(DERIVED.format(reference=reference, platforms=platforms))
    (root / "main.py").write_text(MAIN)
    return OnDisk(root, directory / "store")


def root_of(lock: Lock, platform: Platform = AMD64) -> ImageRoot:
    root = lock.bases["image"].roots[platform]
    assert isinstance(root, ImageRoot)
    return root


def skopeo(*words: str) -> Any:
    machine.require("skopeo")
    return json.loads(subprocess.run(["skopeo", *words], check=True, capture_output=True).stdout)


def test_two_platforms_are_built_here_and_are_one_index(base: str) -> None:
    document = skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{base.replace(':base@', '@')}")
    assert [one["platform"]["architecture"] for one in document["manifests"]] == ["amd64", "arm64"]
    for architecture in ("amd64", "arm64"):
        where = ("--override-arch", architecture, "inspect", "--tls-verify=false")
        assert skopeo(*where, f"docker://{base.replace(':base@', '@')}")["Architecture"] == architecture


def test_the_lock_says_what_the_image_is(derived: OnDisk, base: str) -> None:
    derived.repro("lock")
    root = root_of(derived.lock)
    assert derived.lock.bases["image"].index == Digest.parse(base.partition("@")[2])
    assert (root.glibc, root.python.rpartition(".")[0], root.interpreter) == ("2.36", "3.11", "/usr/bin/python3.11")
    assert root.env["PATH"].startswith("/opt/env/bin:")
    text = (derived.root / "repro.lock").read_bytes()
    derived.repro("lock", "--check")
    derived.repro("lock")
    assert (derived.root / "repro.lock").read_bytes() == text


def test_building_for_the_same_registry_takes_none_of_its_bytes(derived: OnDisk, registry: Registry) -> None:
    derived.repro("lock")
    beneath = [layer.digest.hex for layer in root_of(derived.lock).layers]
    for reference, mounted in ((f"{registry.host}/derived:1", True), (f"{registry.host}/derived:2", False)):
        pushed = json.loads(derived.repro("build", "--push", reference, "--json"))["pushed"][0]
        assert bool(pushed["mounted"]) == mounted
        # The layer that makes /opt/env is the same one as the base's own, and that alone is here.
        assert sum(path.stat().st_size for path in (derived.store / "blobs" / "sha256").iterdir()) < 1 << 20
    found = skopeo("inspect", "--tls-verify=false", f"docker://{registry.host}/derived:2")
    assert [layer.removeprefix("sha256:") for layer in found["Layers"][: len(beneath)]] == beneath


def test_another_registry_is_given_the_bytes(derived: OnDisk, tmp_path: Path) -> None:
    derived.repro("lock")
    with run_registry(tmp_path / "other") as other:
        pushed = json.loads(derived.repro("build", "--push", f"{other.host}/derived", "--json"))["pushed"][0]
        found = skopeo("inspect", "--tls-verify=false", f"docker://{other.host}/derived:main")
    assert found["Digest"] == pushed["digest"]
    assert pushed["sent"] > sum(layer.size for layer in root_of(derived.lock).layers)


@pytest.mark.parametrize(
    "runtime",
    [pytest.param(name, marks=getattr(pytest.mark, name)) for name in ("bwrap", "docker", "podman")],
)
def test_it_runs(derived: OnDisk, runtime: str) -> None:
    derived.repro("lock")
    derived.repro("exec", "--runtime", runtime, "main")
    found = json.loads((derived.root / "found.json").read_text())
    assert (found["packaging"], found["prefix"], found["base"]) == ("24.2", "/opt/env", "/usr")
    assert found["version"] == root_of(derived.lock).python
    assert "bookworm" in found["etc"]
    assert found["speedups"].startswith("/opt/env/lib/python3.11/site-packages/")


def test_a_plain_build_is_whole_and_valid(derived: OnDisk) -> None:
    derived.repro("lock")
    one = json.loads(derived.repro("build", "--json"))["images"][0]
    assert validate(Store(derived.store), Digest.parse(one["image"])) == []
    assert skopeo("inspect", f"oci:{derived.store}:derived/main")["Digest"] == one["image"]


def test_the_same_lock_gives_the_same_digest_with_and_without_the_bytes(
    derived: OnDisk, registry: Registry, tmp_path: Path
) -> None:
    derived.repro("lock")
    there = json.loads(derived.repro("build", "--push", f"{registry.host}/same", "--json"))["images"][0]
    other = OnDisk(derived.root, tmp_path / "other-store")
    here = json.loads(other.repro("build", "--json"))["images"][0]
    assert (here["image"], here["environment"]) == (there["image"], there["environment"])


def test_several_platforms_of_an_index_are_built_on_and_pushed(tmp_path: Path, base: str, registry: Registry) -> None:
    project = derive(tmp_path, base.partition("@")[0], 'platforms = ["linux/amd64", "linux/arm64"]\n')
    project.repro("lock")
    assert root_of(project.lock).layers != root_of(project.lock, ARM64).layers
    pushed = json.loads(project.repro("build", "--push", f"{registry.host}/both", "--json"))["pushed"][0]
    document = skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{registry.host}/both@{pushed['digest']}")
    assert [one["platform"]["architecture"] for one in document["manifests"]] == ["amd64", "arm64"]
    assert sum(path.stat().st_size for path in (project.store / "blobs" / "sha256").iterdir()) < 2 << 20


def test_an_image_that_is_gone_is_said(derived: OnDisk, base: str) -> None:
    text = (derived.root / "repro.toml").read_text().replace("/base:base", "/base:gone")
    (derived.root / "repro.toml").write_text(text)
    assert "error: cannot get the image" in derived.repro("lock", status=6)
