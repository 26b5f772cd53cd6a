"""What other people's programs make of our layers: skopeo, umoci, podman, docker, oci-image-tool."""

from __future__ import annotations

import hashlib
import json
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from layers import Found, layer_of, read_layer
from wheelmaker import WheelRecipe, make_wheel

from repro_env.image import tar
from repro_env.image.layer import Layer, LayerWriter
from repro_env.image.oci import Image, write_image
from repro_env.image.store import Store
from repro_env.values import Digest, Platform

BUSYBOX = Path("/bin/busybox")
REFERENCE = "probe"

FILES = {
    "probe/__init__.py": b"",
    "probe/text.py": b"print(1)\n" * 9000,
    "probe/data.bin": bytes(range(256)) * 900,
    "probe/größe/名前.txt": b"1",
    "probe/with space, 'quote'.txt": b"2",
    "probe/" + "long/" * 40 + "x" * 120: b"3",
    "probe/" + "y" * 130: b"4",
    "probe/program": b"#!/bin/sh\n",
}


def run(*words: str | Path) -> str:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def base_layer(store: Store) -> Layer:
    """Return a layer of busybox, enough of a system to look at the rest from inside."""
    with store.writing() as (stream, keep):
        writer = LayerWriter(stream)
        program = BUSYBOX.read_bytes()
        for folder in ("bin", "dev", "etc", "proc", "sys", "tmp"):
            writer.add(tar.Entry(path=folder, kind="directory", mode=0o755))
        writer.add_chunks(tar.Entry(path="bin/busybox", mode=0o755, size=len(program)), [program])
        writer.add(tar.Entry(path="bin/same", kind="hardlink", mode=0o755, link="bin/busybox"))
        for name in ("sh", "find", "sha256sum", "stat"):
            writer.add(tar.Entry(path=f"bin/{name}", kind="symlink", mode=0o777, link="busybox"))
        layer = writer.finish("busybox")
        keep(layer.digest)
    return layer


@pytest.fixture
def image(store: Store, tmp_path: Path) -> Image:
    if not BUSYBOX.exists():
        pytest.skip("busybox-static is not installed")
    recipes = [
        WheelRecipe(name="probe", files=FILES, executable=frozenset({"probe/program"})),
        WheelRecipe(name="other", files={"other/large.bin": bytes(5 << 20)}, stored=frozenset({"other/large.bin"})),
    ]
    layers = [layer_of(store, make_wheel(tmp_path, recipe)).layer for recipe in recipes]
    image = Image(
        platform=Platform("amd64"),
        layers=(base_layer(store), *layers),
        env={"PATH": "/bin", "PROBE": "größe"},
        command=("sh",),
        workdir="/tmp",
        labels={"a": "b"},
    )
    write_image(image, store, reference=REFERENCE)
    return image


def expected(store: Store, image: Image) -> dict[str, Found]:
    """Return what the image's layers hold below the environment."""
    found: dict[str, Found] = {}
    for layer in image.layers[1:]:
        found |= read_layer(store, layer)
    return found


def sums(store: Store, image: Image) -> set[str]:
    """Return lines as `sha256sum` and `stat -c '%a %u %g %Y %n'` print them."""
    lines = set()
    for path, entry in expected(store, image).items():
        if entry.kind == "file":
            lines.add(f"{hashlib.sha256(entry.content).hexdigest()}  /{path}")
        lines.add(f"{entry.mode:o} 0 0 {tar.MTIME} /{path}")
    return lines


LOOK = "find /opt -type f -exec sha256sum {} +; find /opt -exec stat -c '%a %u %g %Y %n' {} +; echo $PROBE; pwd"


def check_seen(output: str, store: Store, image: Image) -> None:
    lines = set(output.splitlines())
    assert {"größe", "/tmp"} <= lines
    assert lines - {"größe", "/tmp"} == sums(store, image)


def test_skopeo_reads_the_store_and_copies_it_unchanged(
    store: Store, image: Image, tmp_path: Path, requires: Callable[..., None]
) -> None:
    requires("skopeo")
    seen = json.loads(run("skopeo", "inspect", f"oci:{store.root}:{REFERENCE}"))
    assert seen["Layers"] == [str(layer.digest) for layer in image.layers]
    assert seen["Digest"] == str(store.references()[REFERENCE])
    assert (seen["Architecture"], seen["Os"], seen["Labels"]) == ("amd64", "linux", {"a": "b"})
    run("skopeo", "--insecure-policy", "copy", f"oci:{store.root}:{REFERENCE}", f"dir:{tmp_path / 'copy'}")
    manifest = (tmp_path / "copy/manifest.json").read_bytes()
    assert Digest.of(manifest) == store.references()[REFERENCE]
    for layer in image.layers:
        assert Digest.of((tmp_path / "copy" / layer.digest.hex).read_bytes()) == layer.digest


def test_umoci_unpacks_the_same_files(
    store: Store, image: Image, tmp_path: Path, requires: Callable[..., None]
) -> None:
    requires("umoci")
    run("umoci", "unpack", "--rootless", "--image", f"{store.root}:{REFERENCE}", tmp_path / "bundle")
    root = tmp_path / "bundle/rootfs"
    found = {path.relative_to(root).as_posix(): path for path in (root / "opt").rglob("*")} | {"opt": root / "opt"}
    wanted = expected(store, image)
    assert found.keys() == wanted.keys()
    for name, entry in wanted.items():
        assert found[name].stat().st_mode & 0o7777 == entry.mode
        assert int(found[name].stat().st_mtime) == tar.MTIME, name
        assert entry.kind == "directory" or found[name].read_bytes() == entry.content
    assert (root / "bin/same").stat().st_ino == (root / "bin/busybox").stat().st_ino


def test_oci_image_tool_finds_nothing_wrong(store: Store, image: Image, requires: Callable[..., None]) -> None:
    requires("oci-image-tool")
    run("oci-image-tool", "validate", "--type", "image", "--ref", f"name={REFERENCE}", store.root)


@pytest.fixture
def name() -> str:
    return f"localhost/repro-test-{uuid.uuid4().hex[:12]}"


@pytest.mark.podman
def test_podman_sees_the_same_files(store: Store, image: Image, name: str, removed: Callable[..., None]) -> None:
    run("podman", "--log-level=error", "pull", "--quiet", f"oci:{store.root}:{REFERENCE}")
    identity = run("podman", "images", "--quiet", "--no-trunc", "--filter", "label=a=b").splitlines()[0]
    removed("podman", identity)
    words = ("podman", "run", "--rm", "--network=none", "--pull=never", identity, "sh", "-c", LOOK)
    check_seen(run(*words), store, image)


@pytest.mark.docker
def test_docker_sees_the_same_files(
    store: Store, image: Image, tmp_path: Path, name: str, removed: Callable[..., None], requires: Callable[..., None]
) -> None:
    requires("skopeo")
    archive = tmp_path / "image.tar"
    source, target = f"oci:{store.root}:{REFERENCE}", f"docker-archive:{archive}:{name}:latest"
    run("skopeo", "--insecure-policy", "copy", "--quiet", source, target)
    run("docker", "load", "--quiet", "--input", archive)
    removed("docker", f"{name}:latest")
    inspected = json.loads(run("docker", "image", "inspect", f"{name}:latest"))[0]
    assert inspected["RootFS"]["Layers"] == [str(layer.diff_id) for layer in image.layers]
    words = ("docker", "run", "--rm", "--network=none", f"{name}:latest", "sh", "-c", LOOK)
    check_seen(run(*words), store, image)


@pytest.fixture
def removed() -> Iterator[Callable[..., None]]:
    """A function that notes an engine's image, to be removed after the test."""
    images: list[tuple[str, str]] = []
    yield lambda engine, image: images.append((engine, image))
    for engine, image in images:
        subprocess.run([engine, "rmi", "--force", image], capture_output=True, timeout=120, check=False)
