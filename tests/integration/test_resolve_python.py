"""Steps resolved by the real uv against an index on loopback that serves wheels made for the test."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from loopback import Fault, Server, serve, write_simple_index
from recorder import record, unused_port
from wheelmaker import WheelRecipe, make_wheel, simple_wheel

from repro_env.build.fetch import Wanted, fetch_all
from repro_env.build.fetch_wanted import Places, wanted_wheel
from repro_env.edges.credentials import Index
from repro_env.edges.http_client import HttpClient, Limits
from repro_env.edges.report import Silent
from repro_env.errors import FetchError, ResolutionError
from repro_env.image.store import Store
from repro_env.lock.model import Wheel
from repro_env.lock.sources import PythonInputs
from repro_env.resolve.python.request import StepRequest
from repro_env.resolve.python.resolver import Resolver, resolve_steps
from repro_env.values import Digest, Platform, PythonVersion

AMD64, ARM64 = Platform("amd64"), Platform("arm64")


@pytest.fixture(autouse=True)
def _own_uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let uv know nothing but what the test says."""
    for name in [name for name in os.environ if name.startswith("UV_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    directory = tmp_path / "made"
    directory.mkdir()
    for version in ("1.0", "1.5", "2.0"):
        simple_wheel(directory, "num", version)
    simple_wheel(directory, "old-panda", requires=["num<2"])
    simple_wheel(directory, "new-learn", requires=["num>=1.5"])
    for tag in ("cp311-cp311-manylinux_2_17_x86_64", "cp311-cp311-manylinux_2_34_x86_64", "cp311-cp311-win_amd64"):
        make_wheel(directory, WheelRecipe(name="fast", tag=tag, files={"fast.py": tag.encode()}))
    make_wheel(directory, WheelRecipe(name="fast", tag="cp311-cp311-manylinux_2_17_aarch64"))
    make_wheel(directory, WheelRecipe(name="elsewhere", tag="cp312-cp312-manylinux_2_17_x86_64"))
    make_wheel(directory, WheelRecipe(name="picky", requires_python=">=3.11.5"))
    make_wheel(directory, WheelRecipe(name="marked", requires=('num<1.5; python_version<"3.12"',)))
    return directory


@pytest.fixture
def server(tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    root = tmp_path / "served"
    write_simple_index(root, sorted(wheels.iterdir()))
    with serve(root) as running:
        monkeypatch.setenv("UV_DEFAULT_INDEX", f"{running.url}/simple")
        yield running


@pytest.fixture
def project(tmp_path: Path) -> Path:
    path = tmp_path / "project"
    path.mkdir()
    return path


@pytest.fixture
def resolver(project: Path, store: Store) -> Resolver:
    return Resolver(project=project, store=store, http=client(), report=Silent())


def client(*indexes: Index) -> HttpClient:
    return HttpClient(environ={"HOME": "/nonexistent"}, indexes=indexes, limits=Limits(read=5, attempts=1))


def asked(*dependencies: str, step: str = "clean", **other: Any) -> StepRequest:
    inputs = other.pop("inputs", {})
    return StepRequest(
        step=step,
        python=PythonVersion(11),
        interpreter="3.11.2",
        platform=other.pop("platform", AMD64),
        glibc=other.pop("glibc", "2.36"),
        inputs=PythonInputs(dependencies=dependencies, **inputs),
        **other,
    )


def sdist(directory: Path, name: str, version: str, system: str) -> Path:
    """Write a source distribution whose metadata says all, so that nothing runs to resolve it."""
    metadata = f"Metadata-Version: 2.2\nName: {name}\nVersion: {version}\n"
    pyproject = f'[build-system]\n{system}\n[project]\nname = "{name}"\nversion = "{version}"\n'
    path = directory / f"{name}-{version}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for file, text in (("PKG-INFO", metadata), ("pyproject.toml", pyproject)):
            info = tarfile.TarInfo(f"{name}-{version}/{file}")
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    return path


def versions(wheels: tuple[Wheel, ...]) -> Mapping[str, str]:
    return {wheel.name: wheel.version for wheel in wheels}


def test_a_wheel_is_pinned_by_hash_and_size(resolver: Resolver, server: Server, wheels: Path) -> None:
    (wheel,) = resolver.resolve(asked("num")).wheels
    content = (wheels / "num-2.0-py3-none-any.whl").read_bytes()
    assert wheel == Wheel(
        name="num",
        version="2.0",
        file="num-2.0-py3-none-any.whl",
        url=f"{server.url}/files/num-2.0-py3-none-any.whl",
        sha256=Digest.of(content),
        size=len(content),
    )


def test_a_size_that_the_index_does_not_tell_is_asked_for_alone(resolver: Resolver, server: Server) -> None:
    resolver.resolve(asked("num"))
    path = "/files/num-2.0-py3-none-any.whl"
    assert ("HEAD", path, None) in server.log
    assert not resolver.store.has(Digest.of((server.root / path[1:]).read_bytes()))


def test_steps_may_contradict_each_other(resolver: Resolver, server: Server) -> None:
    found = resolve_steps([asked("old-panda"), asked("new-learn", step="train")], resolver)
    assert versions(found["clean", AMD64].wheels) == {"num": "1.5", "old-panda": "1.0"}
    assert versions(found["train", AMD64].wheels) == {"num": "2.0", "new-learn": "1.0"}


def test_a_step_without_dependencies_has_no_wheel(resolver: Resolver) -> None:
    assert resolver.resolve(asked()).wheels == ()


@pytest.mark.parametrize(
    ("glibc", "platform", "tag"),
    [
        ("2.36", AMD64, "manylinux_2_34_x86_64"),
        ("2.31", AMD64, "manylinux_2_17_x86_64"),
        ("2.36", ARM64, "manylinux_2_17_aarch64"),
    ],
)
def test_the_wheel_fits_the_base(resolver: Resolver, server: Server, glibc: str, platform: Platform, tag: str) -> None:
    (wheel,) = resolver.resolve(asked("fast", glibc=glibc, platform=platform)).wheels
    assert wheel.file == f"fast-1.0-cp311-cp311-{tag}.whl"


def test_markers_are_those_of_the_steps_interpreter(resolver: Resolver, server: Server) -> None:
    assert versions(resolver.resolve(asked("marked")).wheels) == {"marked": "1.0", "num": "1.0"}


def test_requires_python_is_held_against_the_full_version(resolver: Resolver, server: Server) -> None:
    with pytest.raises(ResolutionError, match="step clean"):
        resolver.resolve(asked("picky"))
    assert versions(resolver.resolve(replace(asked("picky"), interpreter="3.11.9")).wheels) == {"picky": "1.0"}


def test_pins_are_kept_while_they_satisfy(resolver: Resolver, server: Server) -> None:
    first = resolver.resolve(asked("num<2")).wheels
    assert versions(first) == {"num": "1.5"}
    assert versions(resolver.resolve(asked("num", previous=first)).wheels) == {"num": "1.5"}
    assert versions(resolver.resolve(asked("num>1.5", previous=first)).wheels) == {"num": "2.0"}


def test_an_upgrade_lets_go_of_all_pins_or_of_one(resolver: Resolver, server: Server) -> None:
    first = resolver.resolve(asked("num==1.0", "fast")).wheels
    request = asked("num", "fast", previous=first)
    assert versions(resolver.resolve(request).wheels)["num"] == "1.0"
    assert versions(replace(resolver, upgrade=True).resolve(request).wheels)["num"] == "2.0"
    assert versions(replace(resolver, upgrade_packages=frozenset({"fast"})).resolve(request).wheels)["num"] == "1.0"
    assert versions(replace(resolver, upgrade_packages=frozenset({"num"})).resolve(request).wheels)["num"] == "2.0"


def test_again_gives_the_same(resolver: Resolver, server: Server) -> None:
    requests = [asked("old-panda"), asked("new-learn", "fast", step="train")]
    first = resolve_steps(requests, resolver)
    pinned = [replace(one, previous=first[one.step, AMD64].wheels) for one in requests]
    assert resolve_steps(pinned, resolver) == first
    assert resolve_steps(requests[::-1], resolver) == first


def test_behind_another_mirror_a_known_wheel_keeps_its_url(
    resolver: Resolver, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = resolve_steps([asked("num")], resolver)
    with serve(server.root) as other:
        monkeypatch.setenv("UV_DEFAULT_INDEX", f"{other.url}/simple")
        again = resolve_steps([asked("num")], resolver, known=first["clean", AMD64].wheels)
        anew = resolve_steps([asked("num")], resolver)
    assert again == first
    assert anew["clean", AMD64].wheels[0].url.startswith(other.url)


class TestSources:
    """Where a step's requirements and uv's configuration may stand."""

    def test_requirements_files_with_nested_ones(self, resolver: Resolver, server: Server, project: Path) -> None:
        (project / "req").mkdir()
        (project / "req" / "a.txt").write_text("-r b.txt\n-c c.txt\nfast\n")
        (project / "req" / "b.txt").write_text("num\n")
        (project / "req" / "c.txt").write_text("num<1.5\n")
        found = resolver.resolve(asked(inputs={"roots": ("req/a.txt",)})).wheels
        assert versions(found) == {"fast": "1.0", "num": "1.0"}

    def test_a_group_of_pyproject(self, resolver: Resolver, server: Server, project: Path) -> None:
        (project / "pyproject.toml").write_text(
            '[dependency-groups]\ntrain = ["num<2", {include-group="b"}]\nb=["fast"]'
        )
        found = resolver.resolve(asked(group="train", inputs={"group": ("num<2", "fast")})).wheels
        assert versions(found) == {"fast": "1.0", "num": "1.5"}

    def test_a_script(self, resolver: Resolver, server: Server, tmp_path: Path, wheels: Path) -> None:
        uv = {"find-links": [str(wheels)], "no-index": True, "constraint-dependencies": ["num<1.5"]}
        found = resolver.resolve(asked(script="train.py", inputs={"script": ("num",), "uv": {"train.py": uv}})).wheels
        assert versions(found) == {"num": "1.0"}
        assert found[0].url == (wheels / "num-1.0-py3-none-any.whl").as_uri()
        assert "/simple/num/" not in [path for _, path, _ in server.log]

    def test_a_script_for_another_python_is_refused(self, resolver: Resolver) -> None:
        inputs = {"script": ("num",), "requires_python": ">=3.12"}
        with pytest.raises(ResolutionError, match=r"train\.py cannot run with Python 3\.11\.2"):
            resolver.resolve(asked(script="train.py", inputs=inputs))

    def test_constraints_and_find_links_of_the_project(self, resolver: Resolver, project: Path, wheels: Path) -> None:
        wheels.rename(project / "wheels")
        (project / "uv.toml").write_text(
            'no-index = true\nfind-links = ["wheels"]\nconstraint-dependencies = ["num<2"]\n'
        )
        found = resolver.resolve(asked("num")).wheels
        content = (project / "wheels" / "num-1.5-py3-none-any.whl").read_bytes()
        assert [(wheel.url, wheel.sha256, wheel.size) for wheel in found] == [
            ("wheels/num-1.5-py3-none-any.whl", Digest.of(content), len(content))
        ]

    def test_a_wheel_named_by_a_source(self, resolver: Resolver, server: Server, project: Path, wheels: Path) -> None:
        (project / "own").mkdir()
        simple_wheel(project / "own", "num", "7.0")
        uv = {"sources": {"num": {"path": "own/num-7.0-py3-none-any.whl"}}}
        found = resolver.resolve(asked("num", inputs={"uv": {"pyproject.toml": uv}})).wheels
        assert [(wheel.version, wheel.url) for wheel in found] == [("7.0", "own/num-7.0-py3-none-any.whl")]

    def test_an_index_named_by_a_source(
        self, resolver: Resolver, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = tmp_path / "other"
        directory = tmp_path / "cpu"
        directory.mkdir()
        write_simple_index(other, [simple_wheel(directory, "num", "1.5+cpu")])
        with serve(other) as second:
            uv = {
                "sources": {"num": {"index": "cpu"}},
                "index": [{"name": "cpu", "url": f"{second.url}/simple", "explicit": True}],
            }
            found = resolver.resolve(asked("num", inputs={"uv": {"pyproject.toml": uv}})).wheels
        assert [(wheel.version, wheel.file) for wheel in found] == [("1.5+cpu", "num-1.5+cpu-py3-none-any.whl")]
        assert found[0].url.startswith(f"{second.url}/files/")

    def test_a_wheel_by_its_url(self, resolver: Resolver, server: Server) -> None:
        found = resolver.resolve(asked(f"num @ {server.url}/files/num-1.0-py3-none-any.whl")).wheels
        content = (server.root / "files" / "num-1.0-py3-none-any.whl").read_bytes()
        assert [(wheel.version, wheel.sha256, wheel.size) for wheel in found] == [
            ("1.0", Digest.of(content), len(content))
        ]

    def test_a_persons_variables_change_only_where_things_come_from(
        self, resolver: Resolver, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        plain = resolver.resolve(asked("num")).wheels
        for name, value in {
            "UV_PYTHON": "3.9",
            "UV_PROJECT": str(tmp_path),
            "UV_WORKING_DIR": str(tmp_path),
            "UV_NO_BINARY": "1",
            "FORCE_COLOR": "1",
            "RUST_LOG": "debug",
            "UV_CUSTOM_COMPILE_COMMAND": "x",
        }.items():
            monkeypatch.setenv(name, value)
        assert resolver.resolve(asked("num")).wheels == plain


def test_an_index_without_hashes_is_hashed_here(
    resolver: Resolver, wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = (wheels / "num-1.0-py3-none-any.whl").read_bytes()
    root = tmp_path / "bare"
    (root / "simple" / "num").mkdir(parents=True)
    (root / "simple" / "num" / "index.html").write_text('<a href="num-1.0-py3-none-any.whl">num</a>')
    (root / "simple" / "num" / "num-1.0-py3-none-any.whl").write_bytes(content)
    with serve(root) as running:
        monkeypatch.setenv("UV_DEFAULT_INDEX", f"{running.url}/simple")
        (wheel,) = resolver.resolve(asked("num")).wheels
    assert (wheel.sha256, wheel.size) == (Digest.of(content), len(content))


def test_credentials_are_used_and_not_written(
    resolver: Resolver, wheels: Path, monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    content = (wheels / "num-1.0-py3-none-any.whl").read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    page = f'<a href="/files/num-1.0-py3-none-any.whl#sha256={digest}">num-1.0-py3-none-any.whl</a>'.encode()
    answers = {
        "/simple/num/": (200, {"Content-Type": "text/html"}, page),
        "/files/num-1.0-py3-none-any.whl": (200, {}, content),
    }
    secret = "Basic " + base64.b64encode(b"ann:s3cret").decode()
    with record(answers, authorization=secret) as (url, _):
        monkeypatch.setenv("UV_DEFAULT_INDEX", url.replace("//", "//ann:s3cret@") + "/simple")
        http = HttpClient()
        (wheel,) = replace(resolver, http=http).resolve(asked("num")).wheels
        assert wheel.url == f"{url}/files/num-1.0-py3-none-any.whl"
        assert wheel.size == len(content)
        wanted = Wanted(digest=wheel.sha256, size=wheel.size, urls=(wheel.url,), label=wheel.file)
        fetch_all([wanted], store=store, http=http, report=Silent())
        monkeypatch.setenv("UV_DEFAULT_INDEX", url.replace("//", "//ann:wr0ng@") + "/simple")
        monkeypatch.setenv("UV_NO_CACHE", "1")
        with pytest.raises(FetchError, match="a Python index cannot be reached") as caught:
            resolver.resolve(asked("num"))
        assert "wr0ng" not in str(caught.value)


def test_a_lock_made_behind_one_mirror_installs_behind_another(
    resolver: Resolver, server: Server, tmp_path: Path, project: Path, store: Store
) -> None:
    (wheel,) = resolver.resolve(asked("num")).wheels
    server.fault("/files/num-2.0-py3-none-any.whl", Fault(status=404, times=-1))
    renamed = tmp_path / "mirror"
    write_simple_index(renamed, [server.root / "files" / wheel.file])
    with serve(renamed) as mirror:
        index = Index(url=f"{mirror.url}/simple")
        http = client(index)
        wanted = wanted_wheel(wheel, places=Places(project=project, indexes=[index]), pages=http)
        fetch_all([wanted], store=store, http=http, report=Silent())
    assert store.has(wheel.sha256, wheel.size)


class TestBuilds:
    """Packages without a wheel: local ones, and source distributions that are allowed by name."""

    @pytest.fixture(autouse=True)
    def _backend(self, wheels: Path, server: Server) -> None:
        simple_wheel(wheels, "builder", "1.0", requires=["num<2"])
        sdist(wheels, "old", "1.0", 'requires = ["builder"]')
        sdist(wheels, "old", "1.1", 'requires = ["builder"]')
        write_simple_index(server.root, sorted(wheels.iterdir()))

    @pytest.fixture
    def package(self, project: Path) -> Path:
        text = """[build-system]
requires = ["builder"]
[project]
name = "pkg"
version = "1.2"
dependencies = ["fast"]
"""
        (project / "libs" / "pkg").mkdir(parents=True)
        (project / "libs" / "pkg" / "pyproject.toml").write_text(text)
        return project / "libs" / "pkg"

    def test_a_local_package_is_pinned_by_its_metadata_and_what_its_build_needs(
        self, resolver: Resolver, package: Path
    ) -> None:
        found = resolver.resolve(asked("pkg @ ./libs/pkg"))
        (local,) = found.local
        assert versions(found.wheels) == {"fast": "1.0"}
        assert (local.name, local.path, local.version) == ("pkg", "libs/pkg", "1.2")
        assert versions(local.requires) == {"builder": "1.0", "num": "1.5"}

    @pytest.mark.parametrize("line", ["./libs/pkg", "-e ./libs/pkg", "-e libs/pkg", "pkg @ file:libs/pkg"])
    def test_it_may_stand_in_a_requirements_file(
        self, resolver: Resolver, project: Path, package: Path, line: str
    ) -> None:
        (project / "r.txt").write_text(f"{line}\n")
        inputs = {"roots": ("r.txt",), "files": {"r.txt": f"{line}\n"}}
        assert [local.path for local in resolver.resolve(asked(inputs=inputs)).local] == ["libs/pkg"]

    def test_pins_of_a_build_are_kept(self, resolver: Resolver, package: Path, wheels: Path, server: Server) -> None:
        request = asked("pkg @ ./libs/pkg")
        first = resolver.resolve(request)
        simple_wheel(wheels, "builder", "2.0")
        write_simple_index(server.root, sorted(wheels.iterdir()))
        again = resolver.resolve(replace(request, previous=first.wheels, previous_local=first.local))
        assert again == first
        assert versions(resolver.resolve(request).local[0].requires) == {"builder": "2.0"}

    def test_a_source_distribution_is_pinned_by_hash(
        self, resolver: Resolver, server: Server, wheels: Path, store: Store
    ) -> None:
        found = resolver.resolve(asked("old", "num", build=("old",)))
        (source,) = found.sources
        content = (wheels / "old-1.1.tar.gz").read_bytes()
        assert (source.name, source.version, source.file) == ("old", "1.1", "old-1.1.tar.gz")
        assert (source.sha256, source.size) == (Digest.of(content), len(content))
        assert store.has(source.sha256)
        assert source.url == f"{server.url}/files/old-1.1.tar.gz"
        assert versions(source.requires) == {"builder": "1.0", "num": "1.5"}
        assert versions(found.wheels) == {"num": "2.0"}
        assert source.wheel is None

    def test_its_version_is_kept(self, resolver: Resolver) -> None:
        first = resolver.resolve(asked("old<1.1", build=("old",)))
        again = resolver.resolve(asked("old", build=("old",), previous_sources=first.sources))
        assert again.sources == first.sources

    def test_it_has_to_be_allowed_by_name(self, resolver: Resolver) -> None:
        with pytest.raises(ResolutionError, match="step clean: old has no usable wheel") as caught:
            resolver.resolve(asked("old", build=("other",)))
        assert 'build = ["old"]' in caught.value.hint


class TestFailures:
    def test_no_wheel_for_this_python(self, resolver: Resolver, server: Server) -> None:
        with pytest.raises(ResolutionError) as caught:
            resolver.resolve(asked("elsewhere"))
        assert caught.value.what == (
            "step clean: elsewhere has no usable wheel for Python 3.11.2 on linux/amd64 with glibc 2.36"
        )
        assert "cp312" in caught.value.why

    def test_no_such_package(self, resolver: Resolver, server: Server) -> None:
        with pytest.raises(ResolutionError, match="there is no package nosuch on the index"):
            resolver.resolve(asked("nosuch"))

    def test_no_such_version(self, resolver: Resolver, server: Server) -> None:
        with pytest.raises(ResolutionError, match="step clean: there is no version of num that fits ==9"):
            resolver.resolve(asked("num==9"))

    def test_a_conflict(self, resolver: Resolver, server: Server) -> None:
        with pytest.raises(ResolutionError, match="its requirements contradict each other") as caught:
            resolver.resolve(asked("old-panda", "num>=2"))
        assert "old-panda" in caught.value.why

    def test_a_local_package_that_cannot_be_built(self, resolver: Resolver, server: Server, project: Path) -> None:
        (project / "pkg").mkdir()
        (project / "pkg" / "pyproject.toml").write_text('[project]\nname = "pkg"\nversion = "1"\n')
        with pytest.raises(ResolutionError, match="step clean, to build pkg: there is no package setuptools"):
            resolver.resolve(asked("pkg @ ./pkg"))

    def test_what_is_no_requirement(self, resolver: Resolver, server: Server, project: Path) -> None:
        (project / "a.txt").write_text("foo bar\n")
        with pytest.raises(ResolutionError, match="step clean") as caught:
            resolver.resolve(asked(inputs={"roots": ("a.txt",)}))
        assert "foo bar" in caught.value.why

    def test_an_index_that_is_down(self, resolver: Resolver, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("UV_DEFAULT_INDEX", f"http://127.0.0.1:{unused_port()}/simple")
        with pytest.raises(FetchError, match="step clean: a Python index cannot be reached"):
            resolver.resolve(asked("num"))

    def test_an_index_that_fails(self, resolver: Resolver, server: Server) -> None:
        server.fault("/simple/num/", Fault(status=503, times=-1))
        with pytest.raises(FetchError):
            resolver.resolve(asked("num"))

    def test_an_index_that_goes_down_halfway(self, resolver: Resolver, server: Server) -> None:
        server.fault("/simple/num/", Fault(cut=10, content=b"x" * 1000, times=-1))
        with pytest.raises(FetchError):
            resolver.resolve(asked("num"))

    def test_all_steps_are_reported_at_once(self, resolver: Resolver, server: Server) -> None:
        requests = [asked("nosuch"), asked("num", step="train"), asked("elsewhere", step="report")]
        with pytest.raises(ResolutionError, match="2 of 3 steps could not be resolved") as caught:
            resolve_steps(requests, resolver)
        assert "step clean: there is no package nosuch" in caught.value.why
        assert "step report: elsewhere has no usable wheel" in caught.value.why
        assert "train" not in caught.value.why
        assert "\n  hint: check the spelling" in caught.value.why  # with the step that it is for
        assert not caught.value.hint

    def test_nothing_is_left_in_the_project(self, resolver: Resolver, server: Server, project: Path) -> None:
        resolver.resolve(asked("num"))
        assert list(project.iterdir()) == []


@pytest.mark.network
def test_real_packages_of_a_past_day(project: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "uv.toml").write_text('exclude-newer = "2025-06-01T00:00:00Z"\n')
    resolver = Resolver(project=project, store=store, http=HttpClient(), report=Silent())
    requests = [
        asked("pandas<2", "numpy<2"),
        asked("scikit-learn", "numpy>=2", step="train"),
        asked("matplotlib", step="report", platform=ARM64),
    ]
    found = resolve_steps(requests, resolver)
    assert versions(found["clean", AMD64].wheels) == {
        "numpy": "1.26.4",
        "pandas": "1.5.3",
        "python-dateutil": "2.9.0.post0",
        "pytz": "2025.2",
        "six": "1.17.0",
    }
    assert versions(found["train", AMD64].wheels) == {
        "joblib": "1.5.1",
        "numpy": "2.2.6",
        "scikit-learn": "1.6.1",
        "scipy": "1.15.3",
        "threadpoolctl": "3.6.0",
    }
    assert any(wheel.file.endswith("aarch64.whl") for wheel in found["report", ARM64].wheels)
    assert not any("x86_64" in wheel.file for wheel in found["report", ARM64].wheels)
    six = next(wheel for wheel in found["clean", AMD64].wheels if wheel.name == "six")
    assert six.sha256.hex == "4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274"
    fetch_all(
        [Wanted(digest=six.sha256, size=six.size, urls=(six.url,), label=six.file)],
        store=store,
        http=HttpClient(),
        report=Silent(),
    )
    assert store.has(six.sha256, six.size)
