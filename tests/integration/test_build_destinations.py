"""`repro build` with --push, --load and --output: where images go, and what other people's programs read there."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import machine
import pytest
from loopback import serve
from pipeline import PLATFORM, Pipeline, make_pipeline
from registry import Registry, run_registry

from repro_env.edges.report import Silent, Task
from repro_env.image import docker_engine
from repro_env.image.oci import read_image
from repro_env.image.store import Store
from repro_env.values import Digest

pytestmark = pytest.mark.skipif(os.uname().machine != PLATFORM.machine, reason=f"the test's images are for {PLATFORM}")

ANNOTATION = "org.opencontainers.image.ref.name"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with run_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def pipeline(tmp_path: Path) -> Iterator[Pipeline]:
    with serve(tmp_path) as server:
        yield make_pipeline(tmp_path, server.url)


def built(pipeline: Pipeline, *words: str) -> dict[str, object]:
    """Build with these words and return the JSON document."""
    answer = pipeline.repro("build", *words, "--json")
    assert answer.status == 0, answer
    document: dict[str, object] = json.loads(answer.stdout)
    return document


def digest_of(pipeline: Pipeline, reference: str) -> Digest:
    return Store(pipeline.store).references()[reference]


def skopeo(*words: str) -> str:
    machine.require("skopeo")
    return subprocess.run(["skopeo", *words], check=True, capture_output=True, text=True).stdout


class TestPush:
    def test_each_step_is_a_tag_of_the_repository(self, pipeline: Pipeline, registry: Registry) -> None:
        built(pipeline, "--push", f"{registry.host}/team/robust")
        for step in ("clean", "count"):
            found = json.loads(skopeo("inspect", "--tls-verify=false", f"docker://{registry.host}/team/robust:{step}"))
            assert found["Digest"] == str(digest_of(pipeline, f"robust/{step}"))

    def test_with_a_tag_several_steps_follow_it_and_one_is_it(self, pipeline: Pipeline, registry: Registry) -> None:
        built(pipeline, "--push", f"{registry.host}/tagged:v1")
        built(pipeline, "clean", "--push", f"{registry.host}/tagged:v2")
        found = json.loads(skopeo("list-tags", "--tls-verify=false", f"docker://{registry.host}/tagged"))
        assert sorted(found["Tags"]) == ["v1-clean", "v1-count", "v2"]

    def test_an_edit_sends_the_code_and_no_more(self, pipeline: Pipeline, registry: Registry) -> None:
        built(pipeline, "--push", f"{registry.host}/edited")
        pipeline.disk.write("clean.sh", "echo edited\n")
        answer = pipeline.repro("build", "clean", "--push", f"{registry.host}/edited")
        assert answer.status == 0
        pushed = built(pipeline, "clean", "--push", f"{registry.host}/edited")["pushed"]
        assert isinstance(pushed, list)
        (one,) = pushed
        assert (one["uploaded"], one["sent"]) == (0, 0)
        assert f"pushed {registry.host}/edited:clean@{one['digest']}" in answer.stdout
        assert "2 uploaded" in answer.stdout  # the layer of the code, and the config

    def test_what_it_pushed_is_told_to_programs(self, pipeline: Pipeline, registry: Registry) -> None:
        pushed = built(pipeline, "--push", f"{registry.host}/told")["pushed"]
        assert isinstance(pushed, list)
        assert [one["reference"] for one in pushed] == [f"{registry.host}/told:clean", f"{registry.host}/told:count"]
        assert all(one["digest"].startswith("sha256:") for one in pushed)

    @pytest.mark.parametrize(
        ("reference", "why"),
        [
            ("ghcr.io/Team", "is not an image reference"),
            (f"ghcr.io/a@sha256:{'0' * 64}", "what is pushed decides the digest"),
        ],
    )
    def test_a_place_that_is_none_is_a_usage_error(self, pipeline: Pipeline, reference: str, why: str) -> None:
        answer = pipeline.repro("build", "--push", reference)
        assert answer.status == 2
        assert why in answer.stderr
        assert not any((pipeline.store / "blobs" / "sha256").iterdir())

    def test_a_registry_that_is_down_fails_the_command_and_keeps_the_build(self, pipeline: Pipeline) -> None:
        answer = pipeline.repro("build", "--push", "127.0.0.1:9/x")
        assert answer.status == 6
        assert "error: cannot reach the registry 127.0.0.1:9" in answer.stderr
        assert "Traceback" not in answer.stderr
        assert digest_of(pipeline, "robust/clean")


class TestOutput:
    def test_a_layout_holds_every_step_and_is_valid(self, pipeline: Pipeline, tmp_path: Path) -> None:
        place = tmp_path / "layout"
        built(pipeline, "--output", f"oci:{place}")
        index = json.loads((place / "index.json").read_bytes())
        assert [one["annotations"][ANNOTATION] for one in index["manifests"]] == ["robust/clean", "robust/count"]
        found = json.loads(skopeo("inspect", f"oci:{place}:robust/clean"))
        assert found["Digest"] == str(digest_of(pipeline, "robust/clean"))
        for blob in (place / "blobs" / "sha256").iterdir():
            assert Digest.of(blob.read_bytes()).hex == blob.name

    def test_a_layout_passes_the_validator(self, pipeline: Pipeline, tmp_path: Path) -> None:
        machine.require("oci-image-tool")
        place = tmp_path / "layout"
        built(pipeline, "clean", "--output", f"oci:{place}")
        words = ["oci-image-tool", "validate", "--type", "image", "--ref", "name=robust/clean", str(place)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def test_a_layout_keeps_what_it_held(self, pipeline: Pipeline, tmp_path: Path) -> None:
        place = tmp_path / "layout"
        built(pipeline, "clean", "--output", f"oci:{place}")
        built(pipeline, "count", "--output", f"oci:{place}")
        pipeline.disk.write("clean.sh", "echo edited\n")
        built(pipeline, "clean", "--output", f"oci:{place}")
        index = json.loads((place / "index.json").read_bytes())
        names = {one["annotations"][ANNOTATION]: one["digest"] for one in index["manifests"]}
        assert names == {f"robust/{step}": str(digest_of(pipeline, f"robust/{step}")) for step in ("clean", "count")}

    @pytest.mark.parametrize("kind", ["oci-archive", "docker-archive"])
    def test_an_archive_is_the_same_bytes_each_time(self, pipeline: Pipeline, tmp_path: Path, kind: str) -> None:
        places = [tmp_path / "out" / f"{number}.tar" for number in range(2)]
        for place in places:
            built(pipeline, "clean", "--output", f"{kind}:{place}")
        assert places[0].read_bytes() == places[1].read_bytes()
        found = json.loads(skopeo("inspect", f"{kind}:{places[0]}"))
        assert found["Labels"] == {"org.opencontainers.image.title": "robust/clean"}
        with tarfile.open(places[0]) as archive:
            assert {(entry.uid, entry.gid, entry.mtime) for entry in archive} == {(0, 0, 315532800)}

    def test_several_at_once(self, pipeline: Pipeline, tmp_path: Path) -> None:
        written = built(pipeline, "clean", "--output", f"oci:{tmp_path}/a", "--output", f"oci-archive:{tmp_path}/b")
        assert written["written"] == ["oci:TMP/a", "oci-archive:TMP/b"]
        assert (tmp_path / "a" / "oci-layout").exists()
        assert (tmp_path / "b").is_file()

    def test_a_docker_archive_holds_one_image(self, pipeline: Pipeline, tmp_path: Path) -> None:
        answer = pipeline.repro("build", "--output", f"docker-archive:{tmp_path}/x")
        assert answer.status == 2
        assert "name one step" in answer.stderr

    @pytest.mark.parametrize("output", ["tar:x", "oci:", "x"])
    def test_what_is_no_output_is_a_usage_error(self, pipeline: Pipeline, output: str) -> None:
        answer = pipeline.repro("build", "--output", output)
        assert answer.status == 2
        assert "known are oci:PATH" in answer.stderr

    def test_a_place_that_cannot_be_written_is_said(self, pipeline: Pipeline, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        answer = pipeline.repro("build", "clean", "--output", f"oci:{tmp_path}/file/x")
        assert answer.status == 11
        assert "error: cannot write" in answer.stderr

    def test_without_apptainer_a_sif_is_refused_with_what_to_do(self, pipeline: Pipeline, tmp_path: Path) -> None:
        if machine.find_program("apptainer") or machine.find_program("singularity"):
            pytest.skip("apptainer is installed")
        answer = pipeline.repro("build", "clean", "--output", f"sif:{tmp_path}/x.sif")
        assert answer.status == 12
        assert "install apptainer" in answer.stderr
        assert list(tmp_path.glob("*.sif")) == []

    def test_a_sif_is_made_by_apptainer_from_the_archive(self, pipeline: Pipeline, tmp_path: Path) -> None:
        """Apptainer is not in Debian's stable suites: a stand-in shows that it gets a whole archive."""
        program = tmp_path / "bin" / "apptainer"
        program.parent.mkdir()
        program.write_text('#!/bin/sh\n[ "$1 $2" = "build --force" ] && cp "${4#oci-archive:}" "$3"\n')
        program.chmod(0o755)
        pipeline.disk.env["PATH"] = f"{program.parent}:{os.environ['PATH']}"  # type: ignore[index]
        built(pipeline, "clean", "--output", f"sif:{tmp_path}/x.sif")
        assert json.loads(skopeo("inspect", f"oci-archive:{tmp_path}/x.sif"))["Architecture"] == "amd64"
        assert [path.name for path in tmp_path.glob(".x.sif*")] == []


class Counting(Silent):
    """A reporter that adds up what it is told."""

    def __init__(self) -> None:
        self.amount = 0

    def advance(self, amount: int) -> None:
        self.amount += amount

    @contextlib.contextmanager
    def task(self, title: str, total: int | None, *, unit: str = "bytes") -> Iterator[Task]:
        yield self


@pytest.mark.docker
class TestDocker:
    def test_has_the_image_under_its_name(self, pipeline: Pipeline) -> None:
        assert built(pipeline, "--load", "docker")["loaded"] == [
            "robust/clean:latest into docker",
            "robust/count:latest into docker",
        ]
        words = ["docker", "run", "--rm", "--network", "none", "robust/clean:latest", "sh", "-c", "echo $REPRO_STEP"]
        assert subprocess.run(words, check=True, capture_output=True, text=True).stdout == "clean\n"

    def test_is_sent_only_what_it_lacks(self, pipeline: Pipeline) -> None:
        built(pipeline)
        store = Store(pipeline.store)
        pipeline.disk.write("clean.sh", f"# {time.time()}\n")
        first = digest_of(pipeline, "robust/clean")
        built(pipeline)
        second = digest_of(pipeline, "robust/clean")
        assert first != second
        sent = []
        with contextlib.closing(docker_engine.connect(docker_engine.engine_host(os.environ))) as api:
            for number, digest in enumerate((first, second, second)):
                counting = Counting()
                docker_engine.load_image(api, store, digest, f"repro-test/incremental:{number}", counting)
                sent.append(counting.amount)
        whole = read_image(store, first).size
        if sent[0] >= whole:  # an engine that another test has brought the lower layers is sent less at once
            assert sent[1] < whole / 10
        assert sent[1] < 200_000
        assert sent[2] == 0

    def test_an_engine_that_does_not_answer_is_said(self, pipeline: Pipeline, tmp_path: Path) -> None:
        pipeline.disk.env["DOCKER_HOST"] = f"unix://{tmp_path}/none.sock"  # type: ignore[index]
        answer = pipeline.repro("build", "clean", "--load", "docker")
        assert answer.status == 10
        assert "the Docker engine does not answer" in answer.stderr


@pytest.mark.podman
def test_podman_has_the_image_under_its_name(pipeline: Pipeline) -> None:
    built(pipeline, "clean", "--load", "podman")
    words = ["podman", "run", "--rm", "--network", "none", "robust/clean:latest", "sh", "-c", "echo $REPRO_STEP"]
    assert subprocess.run(words, check=True, capture_output=True, text=True).stdout == "clean\n"


class TestContainerd:
    @pytest.fixture
    def containerd(self, tmp_path: Path) -> Iterator[dict[str, str]]:
        """A containerd of this test's own; its environment."""
        machine.require("containerd")
        machine.require("ctr")
        if os.geteuid() != 0:
            pytest.skip("containerd needs root")
        settings = f'version = 2\nroot = "{tmp_path}/root"\nstate = "{tmp_path}/state"\n'
        settings += 'disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]\n'
        settings += f'[grpc]\naddress = "{tmp_path}/c.sock"\n'
        (tmp_path / "containerd.toml").write_text(settings)
        environ = {"CONTAINERD_ADDRESS": f"{tmp_path}/c.sock", "CONTAINERD_SNAPSHOTTER": "native"}
        with (tmp_path / "containerd.log").open("wb") as log:
            process = subprocess.Popen(
                ["containerd", "--config", str(tmp_path / "containerd.toml")], stdout=log, stderr=log
            )
            try:
                _await_containerd(environ, process, tmp_path / "containerd.log")
                yield environ
            finally:
                process.terminate()
                process.wait(20)

    def test_has_the_image_and_is_sent_only_what_it_lacks(
        self, pipeline: Pipeline, containerd: dict[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pipeline.disk.env.update(containerd)  # type: ignore[attr-defined]
        built(pipeline, "clean", "--load", "containerd")
        before = set(_ctr(containerd, "content", "ls", "--quiet"))
        pipeline.disk.write("clean.sh", "echo edited\n")
        built(pipeline, "clean", "--load", "containerd")
        added = set(_ctr(containerd, "content", "ls", "--quiet")) - before
        assert len(added) in {3, 4}  # code, config, manifest; and the archive's index until it is collected
        listed = _ctr(containerd, "images", "ls")
        (line,) = [line for line in listed if line.startswith("docker.io/robust/clean:latest")]
        assert str(digest_of(pipeline, "robust/clean")) in line


def _ctr(environ: dict[str, str], *words: str) -> list[str]:
    done = subprocess.run(["ctr", *words], env={**os.environ, **environ}, check=True, capture_output=True, text=True)
    return done.stdout.splitlines()


def _await_containerd(environ: dict[str, str], process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until and process.poll() is None:
        words = ["ctr", "--connect-timeout", "1s", "version"]
        if subprocess.run(words, env={**os.environ, **environ}, capture_output=True, check=False).returncode == 0:
            return
        time.sleep(0.1)
    pytest.skip(f"containerd does not start here: {log.read_text()[-300:]}")


def test_the_store_itself_is_a_layout_that_skopeo_copies(pipeline: Pipeline, tmp_path: Path) -> None:
    built(pipeline)
    skopeo("copy", "--quiet", "--insecure-policy", f"oci:{pipeline.store}:robust/count", f"dir:{tmp_path}/out")
    assert Digest.of((tmp_path / "out" / "manifest.json").read_bytes()) == digest_of(pipeline, "robust/count")


def test_a_check_goes_with_none_of_these(pipeline: Pipeline, requires: Callable[..., None]) -> None:
    for words in (("--push", "ghcr.io/a"), ("--load", "docker"), ("--output", "oci:x")):
        answer = pipeline.repro("build", "--check", *words)
        assert answer.status == 2
