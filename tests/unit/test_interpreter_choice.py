"""Which build of Python is brought along, and where its SHA-256 comes from: uv's own list, a user's list, a mirror."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from loopback import Fault, Server, serve
from pythonmaker import MINOR, RELEASE, VERSION, Release, release

from repro_env.edges.http_client import HttpClient, Limits
from repro_env.edges.python_releases import PUBLISHERS, python_mirror, release_urls
from repro_env.errors import FetchError, IntegrityError, ResolutionError, ToolError
from repro_env.image.store import Store
from repro_env.lock.model import Interpreter
from repro_env.resolve.interpreter import Interpreters, built_in_hash, hash_in_sums, newest_build
from repro_env.values import Digest, Platform, PythonVersion

AMD64 = Platform("amd64")
THIS = PythonVersion.parse(MINOR)
HERE = next(name for name in (AMD64, Platform("arm64")) if name.machine in release(()).file)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "web").mkdir()
    with serve(tmp_path / "web") as found:
        yield found


@pytest.fixture
def build() -> Release:
    return release([("python/x", b"content", 0o644, "")])


def choose(tmp_path: Path, server: Server, **environ: str) -> Interpreter:
    """Choose the build of this Python from a list and a mirror on loopback."""
    variables = {
        "UV_PYTHON_DOWNLOADS_JSON_URL": f"{server.url}/list.json",
        "REPRO_PYTHON_MIRROR": f"{server.url}/mirror",
        **environ,
    }
    http = HttpClient(environ={}, limits=Limits(attempts=1, pause=0))
    chooser = Interpreters(project=tmp_path, environ=variables, store=Store(tmp_path / "store"), http=http)
    return chooser.choose(THIS, HERE)


def publish(server: Server, build: Release, **how: Any) -> None:
    build.publish(server.root / "mirror", sums=how.pop("sums", False))
    (server.root / "list.json").write_text(build.listed(**how))


def test_a_build_is_pinned_with_what_uv_knows_and_its_size_at_the_mirror(
    tmp_path: Path, server: Server, build: Release
) -> None:
    publish(server, build)
    found = choose(tmp_path, server)
    assert found == Interpreter(version=VERSION, url=build.url, sha256=build.sha256, size=len(build.content))
    assert found.file == build.file
    assert server.asked(f"/mirror/{RELEASE}/{build.file}") == 1  # for its size


def test_a_hash_that_uv_does_not_know_is_the_published_one(tmp_path: Path, server: Server, build: Release) -> None:
    publish(server, build, sha256="", sums=True)
    assert choose(tmp_path, server).sha256 == build.sha256
    (server.root / "mirror" / RELEASE / f"{build.file}.sha256").write_text("1" * 64)
    assert choose(tmp_path, server).sha256 == Digest("1" * 64)


def test_without_any_hash_nothing_is_pinned(tmp_path: Path, server: Server, build: Release) -> None:
    publish(server, build, sha256="")
    for publisher in PUBLISHERS:  # on this machine they may be within reach, or not: neither has this build
        assert publisher.startswith("https://")
    with pytest.raises((IntegrityError, FetchError)) as caught:
        choose(tmp_path, server)
    if isinstance(caught.value, IntegrityError):
        assert caught.value.what == f"no SHA-256 is known of {build.file}"


def test_an_archive_that_is_nowhere_is_named_with_every_place(tmp_path: Path, server: Server, build: Release) -> None:
    (server.root / "list.json").write_text(build.listed())
    with pytest.raises(FetchError, match="cannot be had") as caught:
        choose(tmp_path, server, REPRO_PYTHON_MIRROR=f"http://user:secret@{server.url[7:]}/mirror")
    assert server.url in caught.value.why
    assert "REPRO_PYTHON_MIRROR" in caught.value.hint
    assert "secret" not in str(caught.value)


def test_a_server_that_tells_no_size_is_read(
    tmp_path: Path, server: Server, build: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(server, build)
    monkeypatch.setattr(HttpClient, "size", lambda _client, _url: None)
    found = choose(tmp_path, server)
    assert found.size == len(build.content)
    assert Store(tmp_path / "store").read(found.sha256) == build.content


def test_bytes_that_are_not_those_uv_knows_are_refused(
    tmp_path: Path, server: Server, build: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(server, build)
    server.fault(f"/mirror/{RELEASE}/{build.file}", Fault(content=b"other"))
    monkeypatch.setattr(HttpClient, "size", lambda _client, _url: None)
    with pytest.raises(IntegrityError, match="is not what uv knows it to be"):
        choose(tmp_path, server)
    assert not Store(tmp_path / "store").has(build.sha256)


def test_a_version_that_uv_does_not_know_is_said(tmp_path: Path, server: Server, build: Release) -> None:
    (server.root / "list.json").write_text(build.listed().replace('"prerelease": ""', '"prerelease": "rc1"'))
    with pytest.raises(ResolutionError, match=f"there is no Python {MINOR} to bring along"):
        choose(tmp_path, server)


def test_a_list_that_cannot_be_read_is_uvs_error_without_credentials(tmp_path: Path, server: Server) -> None:
    with pytest.raises(ToolError) as caught:
        choose(tmp_path, server, UV_PYTHON_DOWNLOADS_JSON_URL=f"http://user:secret@{server.url[7:]}/none.json")
    assert "secret" not in str(caught.value)


def test_a_relative_list_and_a_mirror_in_uvs_configuration(tmp_path: Path, server: Server, build: Release) -> None:
    publish(server, build)
    (tmp_path / "list.json").write_text(build.listed())
    settings = f'python-install-mirror = "{server.url}/mirror"\npython-downloads-json-url = "{tmp_path}/list.json"\n'
    (tmp_path / "uv.toml").write_text(settings)
    found = choose(tmp_path, server, UV_PYTHON_DOWNLOADS_JSON_URL="", REPRO_PYTHON_MIRROR="")
    assert (found.sha256, found.size) == (build.sha256, len(build.content))


def entry(version: str, **other: str) -> Mapping[str, str]:
    usual = {"implementation": "cpython", "os": "linux", "arch": "x86_64", "libc": "gnu", "variant": "default"}
    return {**usual, "key": f"cpython-{version}", "version": version, "url": f"https://e/{version}", **other}


def test_the_newest_final_release_for_the_plain_machine_is_taken() -> None:
    listed = [
        entry("3.12.9"),
        entry("3.12.10"),
        entry("3.12.11rc1"),
        entry("3.13.1"),
        entry("3.12.12", arch="x86_64_v3"),
        entry("3.12.12", arch="aarch64"),
        entry("3.12.12", libc="musl"),
        entry("3.12.12", variant="freethreaded"),
        entry("3.12.12", implementation="pypy"),
        entry("3.12.12", os="macos"),
        entry("3.1.12"),
    ]
    found = newest_build(listed, PythonVersion(12), AMD64)
    assert found is not None
    assert found.version == "3.12.10"
    assert newest_build([], PythonVersion(12), AMD64) is None


@pytest.mark.parametrize("listed", [3, [3], [{}], None])
def test_a_list_of_another_shape_is_a_tools_error(listed: object) -> None:
    with pytest.raises(ToolError):
        newest_build(listed, PythonVersion(12), AMD64)


def test_the_installed_uv_tells_the_hash_it_would_check(tmp_path: Path, store: Store) -> None:
    chooser = Interpreters(project=tmp_path, environ={}, store=store, http=HttpClient(environ={}))
    for platform in (AMD64, Platform("arm64")):
        build = newest_build(chooser._listed(PythonVersion(12)), PythonVersion(12), platform)
        assert build is not None
        assert build.url.startswith(PUBLISHERS)
        assert platform.machine in build.file
        assert built_in_hash(build) is not None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a" * 64, "a" * 64),
        ("A" * 64 + "\n", "a" * 64),
        ("b" * 64 + "  other\n" + "a" * 64 + " *file\n", "a" * 64),
        ("a" * 64 + "  file", "a" * 64),
        ("a" * 64 + "  other", None),
        ("a" * 64 + "\n" + "b" * 64, None),
        ("a" * 63 + "  file", None),
        ("<html>not found</html>", None),
        ("", None),
    ],
)
def test_the_hash_in_a_published_text(text: str, found: str | None) -> None:
    assert hash_in_sums(text, "file") == (Digest(found) if found else None)


def test_a_mirror_goes_first_and_the_publishers_follow() -> None:
    url = f"{PUBLISHERS[1]}1/x%2B1.tar.gz"
    assert release_urls(url, "") == (url, f"{PUBLISHERS[0]}1/x%2B1.tar.gz")
    assert release_urls(url, "https://mirror/r/")[0] == "https://mirror/r/1/x%2B1.tar.gz"
    assert release_urls("https://elsewhere/x.tar.gz", "https://mirror/r/") == ("https://elsewhere/x.tar.gz",)


def test_the_mirror_is_repros_then_uvs(tmp_path: Path) -> None:
    (tmp_path / "uv.toml").write_text('python-install-mirror = "https://three"\n')
    variables = {"REPRO_PYTHON_MIRROR": "https://one", "UV_PYTHON_INSTALL_MIRROR": "https://two"}
    assert python_mirror(tmp_path, variables) == "https://one"
    del variables["REPRO_PYTHON_MIRROR"]
    assert python_mirror(tmp_path, variables) == "https://two"
    assert python_mirror(tmp_path, {}) == "https://three"
