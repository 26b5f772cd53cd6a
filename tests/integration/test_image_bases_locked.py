"""Locking image bases against a registry: what is pinned, what is read, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from images import AMD64, ARM64, DOCKER, OCI, Foreign, config_of, foreign_layer, noise, push_foreign, push_index
from proxy import Fault, Proxy, run_proxy
from registry import Registry, run_registry

from repro_env.config.model import ImageBase
from repro_env.edges.http_client import Limits
from repro_env.edges.report import Silent
from repro_env.errors import FetchError, IntegrityError, ReproError, ResolutionError
from repro_env.image.registry.client import Repository
from repro_env.image.registry.registries import Registries
from repro_env.image.store import Store
from repro_env.lock.model import ImageRoot, LockedBase
from repro_env.resolve.image import ImageResolver
from repro_env.values import Digest, ImageReference, Platform

QUICK = Limits(connect=2, read=0.5, attempts=3, pause=0.01, retry_after=2)
LIBC = "lib/x86_64-linux-gnu/libc.so.6"


def libc(version: str) -> bytes:
    return (
        noise(5000) + f"\0GNU C Library (Some GLIBC {version}-1) stable release version {version}.\nCopyright".encode()
    )


def cpython(version: str) -> bytes:
    return noise(1_500_000) + b"\x003.2.0\0" + version.encode() + b"\0" + noise(100)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with run_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def proxy(registry: Registry) -> Iterator[Proxy]:
    with run_proxy(registry.host) as running:
        yield running


class World:
    """A repository to push into, and a resolver that finds it through a proxy."""

    def __init__(self, registry: Registry, proxy: Proxy, store: Store, name: str) -> None:
        self.proxy, self.store = proxy, store
        self.reference = f"{proxy.host}/{name}:1"
        self.upstream = ImageReference.parse(f"{registry.host}/{name}:1")

    @property
    def repository(self) -> Repository:
        return Registries({"HOME": "/nonexistent"}).repository(self.upstream)

    def push(self, *layers: Foreign, tag: str = "1", docker: bool = False, **config: Any) -> dict[str, Any]:
        return push_foreign(self.repository, self.store, layers, config_of(layers, **config), tag=tag, docker=docker)

    def lock(
        self,
        platforms: Sequence[Platform] = (AMD64,),
        *,
        previous: LockedBase | None = None,
        upgrade: bool = False,
        **declared: str,
    ) -> LockedBase:
        base = ImageBase(name="base", image=self.reference, **declared)
        registries = Registries({"HOME": "/nonexistent"}, limits=QUICK)
        resolver = ImageResolver(registries=registries, store=self.store, report=Silent())
        return resolver.resolve(base, platforms, previous=previous, upgrade=upgrade)

    def root(self, *, glibc: str = "", python: str = "") -> ImageRoot:
        found = self.lock(glibc=glibc, python=python).roots[AMD64]
        assert isinstance(found, ImageRoot)
        return found


@pytest.fixture
def world(registry: Registry, proxy: Proxy, store: Store, request: pytest.FixtureRequest) -> World:
    return World(registry, proxy, store, f"t{abs(hash(request.node.name)):x}")


SYSTEM: dict[str, bytes | str | None] = {
    LIBC: libc("2.36"),
    "usr/bin/python3.11": cpython("3.11.2"),
    "usr/bin/python3": "python3.11",
}


@pytest.mark.parametrize("family", [OCI, DOCKER])
@pytest.mark.parametrize("kind", ["gzip", "zstd", "plain"])
def test_every_kind_of_layer_is_read(world: World, kind: str, family: str) -> None:
    layer = foreign_layer(SYSTEM, kind=kind, family=family)
    env = ["PATH=/usr/bin:/bin", "CUDA_VERSION=12.8.1", "NVIDIA_REQUIRE_CUDA=cuda>=12.8 brand=tesla,driver>=470", "E="]
    world.push(layer, env=env, user="1000:1000", docker=family == DOCKER)
    root = world.root()
    assert (root.glibc, root.python, root.interpreter) == ("2.36", "3.11.2", "/usr/bin/python3.11")
    assert (root.user, root.env["E"]) == ("1000:1000", "")
    assert root.cuda == {"CUDA_VERSION": "12.8.1", "NVIDIA_REQUIRE_CUDA": "cuda>=12.8 brand=tesla,driver>=470"}
    (pinned,) = root.layers
    assert (pinned.digest, pinned.diff_id) == (Digest.of(layer.blob), Digest.of(layer.tar))
    assert (pinned.media_type, pinned.size) == (layer.media_type, len(layer.blob))


def test_nothing_of_a_layer_is_kept_and_none_is_read_twice(world: World) -> None:
    world.push(foreign_layer(SYSTEM), foreign_layer({"x": noise(100)}))
    first = world.lock()
    blobs = world.proxy.asked("GET", "/blobs/")
    assert blobs == 3  # two layers and the config
    assert list(world.store.blobs.iterdir()) == []
    assert world.lock() == first
    assert world.proxy.asked("GET", "/blobs/") == blobs + 1


def test_what_is_declared_is_believed_and_no_layer_read(world: World) -> None:
    world.push(foreign_layer({"x": b""}))
    root = world.root(glibc="2.39", python="3.12.3")
    assert (root.glibc, root.python, root.interpreter) == ("2.39", "3.12.3", "/usr/bin/python3.12")
    assert world.proxy.asked("GET", "/blobs/") == 1
    bare = world.root(glibc="2.39")
    assert (bare.python, bare.interpreter) == ("", "")


FILES: dict[str, tuple[list[dict[str, bytes | str | None]], list[str], tuple[str, str, str]]] = {
    "no Python at all": ([{LIBC: libc("2.39")}], [], ("2.39", "", "")),
    "Docker's official image": (
        [
            SYSTEM,
            {
                "usr/local/bin/python3.12": noise(100),
                "usr/local/bin/python3": "python3.12",
                "usr/local/lib/libpython3.12.so.1.0": cpython("3.12.7"),
            },
        ],
        ["PATH=/usr/local/bin:/usr/bin"],
        ("2.36", "3.12.7", "/usr/local/bin/python3.12"),
    ),
    "several in one place": (
        [
            {
                "usr/lib64/libc.so.6": libc("2.34"),
                "usr/bin/python3.9": cpython("3.9.21"),
                "usr/bin/python3.11": cpython("3.11.9"),
                "usr/bin/python3": "./python3.9",
            }
        ],
        [],
        ("2.34", "3.9.21", "/usr/bin/python3.9"),
    ),
    "without a link the newest": (
        [{LIBC: libc("2.34"), "usr/bin/python3.9": cpython("3.9.21"), "usr/bin/python3.11": cpython("3.11.9")}],
        [],
        ("2.34", "3.11.9", "/usr/bin/python3.11"),
    ),
    "conda's, by its place on PATH": (
        [SYSTEM, {"opt/conda/bin/python3.13": cpython("3.13.1")}],
        ["PATH=/opt/conda/bin:/usr/bin"],
        ("2.36", "3.13.1", "/opt/conda/bin/python3.13"),
    ),
    "a preview": (
        [{LIBC: libc("2.41"), "usr/bin/python3.15": cpython("3.15.0a2")}],
        [],
        ("2.41", "3.15.0a2", "/usr/bin/python3.15"),
    ),
    "one that a later layer removes": (
        [SYSTEM, {"usr/bin/.wh.python3.11": b"", "usr/bin/.wh.python3": b""}],
        [],
        ("2.36", "", ""),
    ),
    "one that goes with its directory": ([SYSTEM, {"usr/.wh.bin": b""}], [], ("2.36", "", "")),
    "one in a directory that is emptied": ([SYSTEM, {"usr/bin/.wh..wh..opq": b""}], [], ("2.36", "", "")),
    "one that is replaced": (
        [SYSTEM, {LIBC: libc("2.41"), "./usr/bin/python3.11": cpython("3.11.12")}],
        [],
        ("2.41", "3.11.12", "/usr/bin/python3.11"),
    ),
    "an older glibc with its version in its name": (
        [{"lib/x86_64-linux-gnu/libc-2.31.so": libc("2.31"), LIBC: "libc-2.31.so"}],
        [],
        ("2.31", "", ""),
    ),
    "a foreign glibc beside its own": (
        [
            {
                "lib/aarch64-linux-gnu/libc.so.6": libc("2.17"),
                "lib/i386-linux-gnu/libc.so.6": libc("2.1"),
                LIBC: libc("2.36"),
            }
        ],
        [],
        ("2.36", "", ""),
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_what_an_image_has_is_found_in_its_files(world: World, name: str) -> None:
    layers, env, expected = FILES[name]
    world.push(*(foreign_layer(entries) for entries in layers), env=env)
    root = world.root()
    assert (root.glibc, root.python, root.interpreter) == expected


@pytest.mark.parametrize("docker", [False, True])
def test_an_index_gives_each_platform_its_own(world: World, docker: bool) -> None:
    family = DOCKER if docker else OCI
    arm = {"lib/aarch64-linux-gnu/libc.so.6": libc("2.41")}
    images = [
        world.push(foreign_layer(SYSTEM, family=family), tag="a", docker=docker),
        world.push(foreign_layer(arm, family=family), tag="b", docker=docker, platform=ARM64),
    ]
    images[1]["platform"]["variant"] = "v8"
    others = [{**images[0], "platform": {"os": "unknown", "architecture": "unknown"}}]
    others += [{**images[0], "platform": {"os": "windows", "architecture": "amd64"}}]
    index = push_index(world.repository, [*others, *images], tag="1", docker=docker)
    base = world.lock((AMD64, ARM64))
    assert base.index == index
    roots = base.roots
    assert [str(roots[platform].manifest) for platform in (AMD64, ARM64)] == [image["digest"] for image in images]  # type: ignore[union-attr]
    assert [roots[platform].glibc for platform in (AMD64, ARM64)] == ["2.36", "2.41"]


def test_a_tag_that_moves_stays_what_it_was_until_an_upgrade(world: World) -> None:
    old = world.push(foreign_layer(SYSTEM))
    before = world.lock()
    new = world.push(foreign_layer({**SYSTEM, "new": b""}))
    kept, moved = world.lock(previous=before), world.lock(previous=before, upgrade=True)
    assert kept == before
    assert str(kept.roots[AMD64].manifest) == old["digest"]  # type: ignore[union-attr]
    assert str(moved.roots[AMD64].manifest) == new["digest"]  # type: ignore[union-attr]


def test_a_digest_is_asked_for_itself(world: World) -> None:
    image = world.push(foreign_layer(SYSTEM), tag="other")
    world.reference = f"{world.reference}@{image['digest']}"
    assert str(world.root().manifest) == image["digest"]


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "musl": ({"lib/ld-musl-x86_64.so.1": b"x"}, "has no glibc", "musl"),
    "no files": ({}, "has no glibc", "glibc"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_image_without_glibc_is_refused_with_what_to_do(world: World, name: str) -> None:
    entries, what, why = REFUSED[name]
    world.push(foreign_layer(entries))
    with pytest.raises(ResolutionError, match=what) as caught:
        world.lock()
    assert why in caught.value.why
    assert "[base.base]" in caught.value.hint


def test_a_platform_that_an_image_has_not_is_said(world: World) -> None:
    image = world.push(foreign_layer(SYSTEM), tag="a")
    with pytest.raises(FetchError, match="cannot get the image"):
        world.lock()
    push_index(world.repository, [image], tag="1")
    with pytest.raises(ResolutionError, match="has no image for linux/arm64") as caught:
        world.lock((AMD64, ARM64))
    assert caught.value.why == "it has linux/amd64"
    world.push(foreign_layer(SYSTEM))
    with pytest.raises(ResolutionError, match="is not for linux/arm64"):
        world.lock((ARM64,))


def test_a_layer_of_another_kind_is_refused(world: World) -> None:
    layer = foreign_layer(SYSTEM)
    strange = Foreign(tar=layer.tar, blob=layer.blob, media_type="application/vnd.x.encrypted")
    world.push(strange)
    with pytest.raises(ResolutionError, match="cannot be built on") as caught:
        world.lock()
    assert "application/vnd.x.encrypted" in caught.value.why


DAMAGE = {
    "a layer that is cut short": lambda layer: Foreign(
        tar=layer.tar, blob=layer.blob[:-200], media_type=layer.media_type
    ),
    "a layer with another diff_id": lambda layer: Foreign(tar=b"x", blob=layer.blob, media_type=layer.media_type),
    "a layer that is no archive": lambda layer: Foreign(tar=b"", blob=noise(3000), media_type=layer.media_type),
}


@pytest.mark.parametrize("kind", ["gzip", "zstd", "plain"])
@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_layer_is_refused(world: World, name: str, kind: str) -> None:
    world.push(DAMAGE[name](foreign_layer(SYSTEM, kind=kind)))
    with pytest.raises(IntegrityError):
        world.lock()


def test_layers_and_their_names_must_agree(world: World) -> None:
    layers = [foreign_layer(SYSTEM), foreign_layer({"x": b""})]
    push_foreign(world.repository, world.store, layers, config_of(layers[:1]), tag="1")
    with pytest.raises(IntegrityError, match="are damaged"):
        world.lock()


FAULTS = {
    "a layer that breaks off": Fault("GET", "/blobs/", cut=1000, times=3),
    "a busy registry": Fault("GET", "/manifests/", status=429, headers={"Retry-After": "0"}, times=2),
    "a registry that is down for a moment": Fault("GET", "/blobs/", status=502, times=2),
    "a refused connection": Fault("GET", "/manifests/", refuse=True),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_passes_is_overcome(world: World, name: str) -> None:
    world.push(foreign_layer({**SYSTEM, "large": noise(2 << 20)}))
    before = world.lock()
    fresh = World.__new__(World)
    fresh.__dict__.update(world.__dict__, store=Store(world.store.root / "other"))
    fault = FAULTS[name]
    world.proxy.fault(Fault(**{key: getattr(fault, key) for key in Fault.__slots__}))
    assert fresh.lock() == before


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault("GET", "/manifests/", flip="answer", times=-1), IntegrityError),
        (Fault("GET", "/blobs/", flip="answer", times=-1), IntegrityError),
        (Fault("GET", "/blobs/", cut=10, times=-1), FetchError),
        (Fault("GET", "/blobs/", stall=1.0, times=-1), FetchError),
        (Fault("GET", "/manifests/", status=500, times=-1), FetchError),
        (Fault("GET", "/manifests/", status=403, times=-1), FetchError),
    ],
    ids=["wrong manifest", "wrong blob", "cut", "stalled", "down", "forbidden"],
)
def test_what_lasts_is_said_and_pins_nothing(world: World, fault: Fault, kind: type[ReproError]) -> None:
    world.push(foreign_layer(SYSTEM))
    world.proxy.fault(fault)
    with pytest.raises(kind) as caught:
        world.lock()
    assert caught.value.what
    fault.times = 0
    assert world.root().glibc == "2.36"


def test_a_layer_in_the_store_is_read_there(world: World) -> None:
    layer = foreign_layer(SYSTEM)
    world.push(layer)
    world.store.add(layer.blob)
    assert world.root().python == "3.11.2"
    assert world.proxy.asked("GET", "/blobs/") == 1


def test_a_layer_that_an_image_has_twice_is_read_once_and_counts_twice(world: World) -> None:
    libc_layer, gone = (
        foreign_layer(SYSTEM),
        foreign_layer({"lib/.wh.x86_64-linux-gnu": b"", "usr/bin/.wh.python3.11": b""}),
    )
    world.push(libc_layer, gone, libc_layer)
    assert (world.root().glibc, world.root().python) == ("2.36", "3.11.2")
    assert world.proxy.asked("GET", f"/blobs/{Digest.of(libc_layer.blob)}") == 1


def test_a_damaged_one_in_the_store_is_had_again(world: World) -> None:
    layer = foreign_layer(SYSTEM)
    world.push(layer)
    digest = world.store.add(layer.blob)
    world.store.blob(digest).write_bytes(bytes(len(layer.blob)))
    with pytest.raises(IntegrityError, match="the store's copy of layer"):
        world.lock()
    assert world.root().python == "3.11.2"


def test_the_files_of_this_machine_give_their_versions() -> None:
    """The patterns are of real files: this machine's glibc and Python, whatever they are."""
    import io  # noqa: PLC0415 - for this test alone
    import platform  # noqa: PLC0415 - same
    import sys  # noqa: PLC0415 - same

    from repro_env.image.base_facts import image_facts, read_facts  # noqa: PLC0415 - same

    library = next(Path("/lib").glob(f"{platform.machine()}-linux-gnu/libc.so.6"), None)
    program = Path(f"/usr/bin/python3.{sys.version_info.minor}")
    if library is None or not program.is_file():
        pytest.skip("this machine is laid out in another way than Debian")
    layer = foreign_layer({str(path).lstrip("/"): path.read_bytes() for path in (library, program)}, kind="plain")
    found = image_facts(
        [read_facts(io.BytesIO(layer.tar))], {}, Platform("amd64" if "x86" in platform.machine() else "arm64")
    )
    assert found.glibc == platform.libc_ver()[1]
    assert found.python.startswith(f"3.{sys.version_info.minor}.")
