"""Logins from the files and helpers that docker, podman and skopeo use."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from repro_env.errors import FetchError, ToolError
from repro_env.image.registry.logins import Login, Logins

Write = Callable[[str, Any], Path]


def basic(user: str, secret: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{secret}".encode()).decode()}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def writer(name: str, document: Any) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        return path

    return writer


@pytest.fixture
def find(tmp_path: Path) -> Callable[..., Login | None]:
    def finder(registry: str = "ghcr.io", repository: str = "team/churn", **environ: str) -> Login | None:
        return Logins({"HOME": str(tmp_path), "PATH": f"{tmp_path}/bin:/usr/bin:/bin", **environ}).find(
            registry, repository
        )

    return finder


@pytest.fixture
def helper(tmp_path: Path) -> Callable[[str, str], None]:
    def make(name: str, script: str) -> None:
        program = tmp_path / "bin" / f"docker-credential-{name}"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    return make


def test_without_a_file_there_is_no_login(find: Callable[..., Login | None]) -> None:
    assert find() is None


def test_of_dockers_file(find: Callable[..., Login | None], write: Write) -> None:
    write(".docker/config.json", {"auths": {"ghcr.io": basic("ada", "p:w"), "other.io": basic("x", "y")}})
    assert find() == Login("ada", "p:w")
    assert find("ghcr.io:444") is None


@pytest.mark.parametrize("key", ["https://index.docker.io/v1/", "docker.io", "index.docker.io", "https://docker.io"])
def test_docker_hub_has_several_names(find: Callable[..., Login | None], write: Write, key: str) -> None:
    write(".docker/config.json", {"auths": {key: basic("ada", "pw")}})
    assert find("docker.io", "library/python") == Login("ada", "pw")


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"username": "ada", "password": "pw"}, Login("ada", "pw")),
        ({"identitytoken": "refresh", **basic("00000000", "")}, Login("", "refresh")),
        ({}, None),
        ("nonsense", None),
    ],
)
def test_entries_of_every_kind(
    find: Callable[..., Login | None], write: Write, entry: Any, expected: Login | None
) -> None:
    write(".docker/config.json", {"auths": {"https://ghcr.io/v2/": entry}})
    assert find() == expected


def test_a_login_for_one_repository_goes_before_that_of_its_registry(
    find: Callable[..., Login | None], write: Write
) -> None:
    auths = {"ghcr.io": basic("all", "1"), "ghcr.io/team": basic("team", "2"), "ghcr.io/team/churn/x": basic("x", "3")}
    write(".config/containers/auth.json", {"auths": auths})
    assert find() == Login("team", "2")
    assert find(repository="other/churn") == Login("all", "1")


def test_the_files_in_their_order(find: Callable[..., Login | None], write: Write, tmp_path: Path) -> None:
    places = {
        "REGISTRY_AUTH_FILE": write("named.json", {"auths": {"ghcr.io": basic("named", "")}}),
        "DOCKER_CONFIG": write("docker/config.json", {"auths": {"ghcr.io": basic("docker", "")}}).parent,
        "XDG_RUNTIME_DIR": write("run/containers/auth.json", {"auths": {"ghcr.io": basic("run", "")}}).parents[1],
        "XDG_CONFIG_HOME": write("cfg/containers/auth.json", {"auths": {"ghcr.io": basic("cfg", "")}}).parents[1],
    }
    write(".docker/config.json", {"auths": {"ghcr.io": basic("home", "")}})
    environ = {name: str(path) for name, path in places.items()}
    for user, name in (("named", "REGISTRY_AUTH_FILE"), ("docker", "DOCKER_CONFIG"), ("run", "XDG_RUNTIME_DIR")):
        assert find(**environ) == Login(user, "")
        del environ[name]
    assert find(**environ) == Login("cfg", "")
    assert find() == Login("home", "")


def test_a_helper_for_one_registry(
    find: Callable[..., Login | None], write: Write, helper: Callable[[str, str], None]
) -> None:
    helper("vault", 'read -r server; printf \'{"Username":"ada","Secret":"of %s"}\' "$server"')
    write(".docker/config.json", {"auths": {"ghcr.io": basic("plain", "")}, "credHelpers": {"ghcr.io": "vault"}})
    assert find() == Login("ada", "of ghcr.io")


def test_a_helper_for_all_registries_that_have_no_entry(
    find: Callable[..., Login | None], write: Write, helper: Callable[[str, str], None]
) -> None:
    helper("store", 'read -r server; printf \'{"Username":"<token>","Secret":"%s"}\' "$server"')
    write(".docker/config.json", {"auths": {"ghcr.io": {}, "q.io": basic("plain", "x")}, "credsStore": "store"})
    assert find() == Login("", "ghcr.io")
    assert find("docker.io") == Login("", "https://index.docker.io/v1/")
    assert find("q.io") == Login("plain", "x")


def test_a_helper_that_knows_nothing_is_no_login(
    find: Callable[..., Login | None], write: Write, helper: Callable[[str, str], None]
) -> None:
    helper("store", "echo 'credentials not found in native keychain'; exit 1")
    write(".docker/config.json", {"credsStore": "store"})
    assert find() is None


@pytest.mark.parametrize("script", ["echo s3cret; exit 1", "echo s3cret", 'echo \'{"Username":"s3cret"}\''])
def test_a_helper_that_fails_is_said_without_what_it_said(
    find: Callable[..., Login | None], write: Write, helper: Callable[[str, str], None], script: str
) -> None:
    helper("store", script)
    write(".docker/config.json", {"credsStore": "store"})
    with pytest.raises(FetchError, match=r"no login for ghcr\.io") as caught:
        find()
    assert "s3cret" not in str(caught.value)


def test_a_helper_that_is_absent_is_said(find: Callable[..., Login | None], write: Write) -> None:
    write(".docker/config.json", {"credsStore": "absent"})
    with pytest.raises(ToolError, match="docker-credential-absent"):
        find()


@pytest.mark.parametrize(
    "content", ["{", '{"auths": {"ghcr.io": {"auth": "%%%"}}}', '{"auths": {"ghcr.io": {"auth": "eA=="}}}']
)
def test_a_damaged_file_is_named(find: Callable[..., Login | None], write: Write, content: str) -> None:
    path = write(".docker/config.json", content)
    with pytest.raises(FetchError, match="cannot read the logins") as caught:
        find()
    assert str(path) in caught.value.what


@pytest.mark.parametrize("content", ["[]", '{"auths": []}', '{"auths": {"ghcr.io": []}, "credHelpers": 3}'])
def test_what_holds_no_logins_holds_none(find: Callable[..., Login | None], write: Write, content: str) -> None:
    write(".docker/config.json", content)
    assert find() is None


def test_a_login_does_not_show_itself() -> None:
    assert "s3cret" not in repr(Login("ada", "s3cret"))
