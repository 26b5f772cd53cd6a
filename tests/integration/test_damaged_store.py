"""A store that was damaged: the next command repairs it or says what to do, and never makes another image."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import tiny
from loopback import serve
from pipeline import BUSYBOX, PLATFORM, Pipeline, faults_of, make_pipeline

from repro_env.edges import process
from repro_env.edges.process import Completed
from repro_env.edges.report import Silent
from repro_env.errors import IntegrityError, ToolError
from repro_env.image import podman_engine
from repro_env.image.store import Store
from repro_env.values import Digest

Damage = Callable[[Path], object]


def flip(path: Path) -> None:
    """Change one bit in the middle, as a failing disk does."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    """What a power failure leaves."""
    path.write_bytes(b"")


DAMAGES: Mapping[str, Damage] = {"flip": flip, "truncate": truncate, "empty": empty, "remove": Path.unlink}


HOW = ["flip", "empty", *(pytest.param(name, marks=pytest.mark.soak) for name in ("truncate", "remove"))]


@dataclass(frozen=True, slots=True)
class Built:
    """A pipeline that was built: its lock before and after, and the files of its store by what they are."""

    pipeline: Pipeline
    fresh: str
    recorded: str
    files: Mapping[str, Path]


@pytest.fixture(scope="module")
def module_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damaged")


@pytest.fixture(scope="module")
def made(module_directory: Path) -> Iterator[Built]:
    with serve(module_directory) as server:
        pipeline = make_pipeline(module_directory, server.url)
        fresh = (pipeline.root / "repro.lock").read_text()
        assert pipeline.repro("build").status == 0
        recorded = (pipeline.root / "repro.lock").read_text()
        yield Built(pipeline, fresh, recorded, files_of(pipeline))


def files_of(pipeline: Pipeline) -> Mapping[str, Path]:
    """Return one file of each kind that a store holds, relative to it."""
    store = Store(pipeline.store)
    environment = pipeline.lock.steps["clean"].environments[PLATFORM]
    assert environment.image is not None
    named = next(digest for name, digest in store.references().items() if "clean" in name)
    parts = json.loads(store.read(environment.image))
    step = json.loads(store.read(named))
    root = pipeline.lock.bases["slim"].roots[PLATFORM]
    digests = {
        "wheel": environment.wheels[0].sha256,
        "deb": next(package.sha256 for package in root.packages if package.name == "libx1"),  # type: ignore[union-attr]
        "base-layer": Digest.parse(parts["layers"][0]["digest"]),
        "wheel-layer": Digest.parse(parts["layers"][-1]["digest"]),
        "code-layer": Digest.parse(step["layers"][-1]["digest"]),
        "config": Digest.parse(parts["config"]["digest"]),
        "manifest": environment.image,
        "step-manifest": named,
    }
    kinds = sorted(path for path in (pipeline.store / "derived").iterdir() if path.is_dir())
    memories = {f"derived-{kind.name}": min(kind.iterdir()).relative_to(pipeline.store) for kind in kinds}
    blobs = {name: store.blob(digest).relative_to(pipeline.store) for name, digest in digests.items()}
    return {**blobs, **memories, "index": Path("index.json"), "oci-layout": Path("oci-layout")}


KINDS = (
    *("wheel", "deb", "base-layer", "wheel-layer", "code-layer", "config", "manifest", "step-manifest"),
    *("derived-debian-layer", "derived-libraries", "derived-missing", "derived-wheel-layers", "index", "oci-layout"),
)


def test_every_kind_of_file_is_damaged_below(made: Built) -> None:
    assert set(KINDS) == set(made.files), "a store holds a new kind of file: damage it, too"


def damaged(made: Built, tmp_path: Path, kind: str, damage: str, *, lock: str) -> Pipeline:
    """Return the pipeline with a copy of its store in which one file is damaged."""
    shutil.copytree(made.pipeline.store, tmp_path / "store", symlinks=True)
    DAMAGES[damage](tmp_path / "store" / made.files[kind])
    made.pipeline.disk.write("repro.lock", lock)
    return made.pipeline.with_store(tmp_path / "store")


@pytest.mark.parametrize("damage", HOW)
@pytest.mark.parametrize("kind", KINDS)
def test_building_repairs_the_store_or_says_how(made: Built, tmp_path: Path, kind: str, damage: str) -> None:
    for number, lock in enumerate((made.recorded, made.fresh)):
        working = damaged(made, tmp_path / str(number), kind, damage, lock=lock)
        answer = working.repro("build")
        assert "Traceback" not in answer.stderr
        if answer.status:
            assert answer.status == 7
            assert "hint: " in answer.stderr
            follow(answer.stderr, working)
            answer = working.repro("build")
        assert answer.status == 0, answer
        assert (made.pipeline.root / "repro.lock").read_text() == made.recorded


def follow(said: str, pipeline: Pipeline) -> None:
    """Do what an error's hint says."""
    if "remove that file" in said:
        assert "index.json" in said
        (pipeline.store / "index.json").unlink()
    else:
        assert "run again" in said


@pytest.mark.parametrize("damage", HOW)
@pytest.mark.parametrize("kind", ["wheel", "deb"])
def test_what_layers_are_made_of_is_had_again(made: Built, tmp_path: Path, kind: str, damage: str) -> None:
    working = damaged(made, tmp_path, kind, damage, lock=made.fresh)
    shutil.rmtree(working.store / "derived")
    answer = working.repro("build")
    if damage == "flip":  # of the right size, so it is noticed only when it is read
        assert answer.status == 7
        assert "the store's copy of " in answer.stderr
        assert "hint: that file was removed: run again, and it is downloaded or made anew" in answer.stderr
        answer = working.repro("build")
    assert answer.status == 0, answer
    assert (made.pipeline.root / "repro.lock").read_text() == made.recorded
    assert faults_of(working.store) == []


@pytest.mark.parametrize("kind", ["oci", "oci-archive", "docker-archive"])
def test_no_damaged_layer_leaves_the_store(made: Built, tmp_path: Path, kind: str) -> None:
    working = damaged(made, tmp_path, "wheel-layer", "flip", lock=made.recorded)
    place = tmp_path / "place"
    words = ("build", "clean", "--output", f"{kind}:{place}")
    answer = working.repro(*words)
    assert answer.status == 7, answer
    assert "hint: that file was removed: run again" in answer.stderr
    if kind == "oci":
        blobs = list((place / "blobs" / "sha256").iterdir())
        assert all(Digest.of(blob.read_bytes()).hex == blob.name for blob in blobs)
    else:
        assert not place.exists()
    assert working.repro(*words).status == 0


@pytest.mark.parametrize("damage", ["flip", "none"])
def test_an_engine_that_refuses_an_image(store: Store, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    digest = tiny.tiny_image(store)
    layer = Digest.parse(json.loads(store.read(digest))["layers"][0]["digest"])
    if damage == "flip":
        flip(store.blob(layer))

    def refuse(words: Sequence[str], **_: object) -> Completed:
        if "pull" in words:
            raise ToolError("podman failed with exit status 125")
        return Completed(tuple(words), 1, "", "")

    monkeypatch.setattr(process, "run", refuse)
    with pytest.raises(IntegrityError if damage == "flip" else ToolError):
        podman_engine.load_image(store, digest, "tiny:latest", Silent())
    assert store.has(layer) == (damage == "none")


@pytest.mark.bwrap
@pytest.mark.skipif(not BUSYBOX.exists(), reason="no static busybox to make an image of")
@pytest.mark.parametrize("kind", ["base-layer", "wheel-layer", "config", "manifest"])
def test_no_step_runs_in_a_damaged_layer(made: Built, tmp_path: Path, kind: str) -> None:
    working = damaged(made, tmp_path, kind, "flip", lock=made.recorded)
    words = ("exec", "--runtime", "bwrap", "clean")
    answer = working.repro(*words)
    if "layer" in kind:
        assert answer.status == 121, answer
        assert "the store's copy of layer " in answer.stderr
        answer = working.repro(*words)
    assert answer.status == 0, answer
    assert faults_of(working.store) == []


def test_a_damaged_wheel_is_had_again_for_a_venv(made: Built, tmp_path: Path) -> None:
    working = damaged(made, tmp_path, "wheel", "flip", lock=made.recorded)
    words = ("exec", "--runtime", "venv", "clean")
    answer = working.repro(*words)
    assert answer.status == 121
    assert "the store's copy of large-1.0-py3-none-any.whl is damaged" in answer.stderr
    assert working.repro(*words).status == 0
