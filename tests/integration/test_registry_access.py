"""Who a registry lets in, and how it is spoken to: passwords, tokens, certificates, plain HTTP."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import machine
import pytest
from images import AMD64, make_image, noise
from recorder import record, unused_port
from registry import PASSWORD, USER, Registry, run_registry
from tokens import TokenServer, run_token_server

from repro_env.edges.http_client import Limits
from repro_env.edges.report import Silent
from repro_env.errors import FetchError
from repro_env.image.registry.push import Pushed, Pusher, Shipment
from repro_env.image.registry.registries import Registries
from repro_env.image.store import Store
from repro_env.values import ImageReference

QUICK = Limits(connect=2, read=5, attempts=3, pause=0.01, retry_after=2)
OTHER_NAME = "0.0.0.0"
"""Leads to this machine, and is no loopback address by its looks."""


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with run_registry(tmp_path_factory.mktemp("closed"), password=True) as running:
        yield running


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of its own authority, and its key."""
    machine.require("openssl")
    directory = tmp_path_factory.mktemp("tls")
    key, made = directory / "key.pem", directory / "cert.pem"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(key), "-out", str(made)]
    subprocess.run([*words, *names], check=True, capture_output=True)
    return made, key


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory, certificate: tuple[Path, Path]) -> Iterator[Registry]:
    with run_registry(tmp_path_factory.mktemp("secure"), tls=certificate) as running:
        yield running


@pytest.fixture
def tokens(tmp_path: Path) -> Iterator[TokenServer]:
    with run_token_server(tmp_path) as running:
        running.logins[USER] = PASSWORD
        yield running


@pytest.fixture
def guarded(tmp_path: Path, tokens: TokenServer) -> Iterator[Registry]:
    with run_registry(tmp_path / "guarded", token=tokens.settings) as running:
        yield running


def push(store: Store, reference: str, environ: dict[str, str] | None = None) -> Pushed:
    """Push a new small image."""
    registries = Registries({"HOME": "/nonexistent", **(environ or {})}, limits=QUICK)
    image = make_image(store, noise(1000), noise(1000))
    shipment = Shipment(reference=ImageReference.parse(reference), manifests={AMD64: image})
    (pushed,) = Pusher(store, registries, Silent()).push([shipment])
    return pushed


def login(directory: Path, host: str, user: str = USER, password: str = PASSWORD) -> dict[str, str]:
    """Log in as docker does; return the environment that says where."""
    auth = base64.b64encode(f"{user}:{password}".encode()).decode()
    (directory / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))
    return {"DOCKER_CONFIG": str(directory)}


class TestPassword:
    def test_lets_in(self, store: Store, closed: Registry, tmp_path: Path) -> None:
        assert push(store, f"{closed.host}/a", login(tmp_path, closed.host)).uploaded == 3

    def test_keeps_out_who_has_no_login(self, store: Store, closed: Registry) -> None:
        with pytest.raises(FetchError) as caught:
            push(store, f"{closed.host}/a")
        assert "401" in caught.value.why
        assert f"docker login {closed.host}" in caught.value.hint

    def test_keeps_out_a_wrong_login_and_does_not_show_it(self, store: Store, closed: Registry, tmp_path: Path) -> None:
        with pytest.raises(FetchError) as caught:
            push(store, f"{closed.host}/a", login(tmp_path, closed.host, password="wr0ng"))
        assert "401" in caught.value.why
        assert "wr0ng" not in str(caught.value)

    def test_is_never_sent_where_it_is_not_asked_for(self, store: Store, tmp_path: Path) -> None:
        with record({"/v2/": (200, {}, b"")}) as (url, requests):
            host = url.removeprefix("http://")
            with pytest.raises(FetchError):
                push(store, f"{host}/a", login(tmp_path, host))
        assert requests
        assert not any("authorization" in headers for _path, headers in requests)

    def test_stays_with_its_registry_when_a_blob_is_elsewhere(self, tmp_path: Path) -> None:
        with record({"/there": (200, {}, b"blob")}) as (other, at_other):
            moved = {"/v2/a/blobs/sha256:00": (307, {"Location": f"{other}/there"}, b""), "/v2/": (200, {}, b"")}
            secret = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            with record(moved, authorization=secret) as (url, at_first):
                host = url.removeprefix("http://")
                registries = Registries(login(tmp_path, host), limits=QUICK)
                repository = registries.repository(ImageReference.parse(f"{host}/a"))
                assert registries.http.get(repository.url("blobs/sha256:00"), limit=10) == b"blob"
        assert at_first[-1][1]["authorization"] == secret
        assert "authorization" not in at_other[0][1]


class TestTokens:
    def test_one_token_serves_a_whole_push(
        self, store: Store, guarded: Registry, tokens: TokenServer, tmp_path: Path
    ) -> None:
        environ = login(tmp_path, guarded.host)
        assert push(store, f"{guarded.host}/team/a", environ).uploaded == 3
        assert [scopes for _method, scopes, _header in tokens.asked] == [["repository:team/a:pull,push"]]

    def test_a_mount_asks_for_both_repositories(
        self, store: Store, guarded: Registry, tokens: TokenServer, tmp_path: Path
    ) -> None:
        environ = login(tmp_path, guarded.host)
        image = make_image(store, noise(1000))
        for name in ("team/a", "team/b"):
            shipment = Shipment(reference=ImageReference.parse(f"{guarded.host}/{name}"), manifests={AMD64: image})
            (pushed,) = Pusher(store, Registries({"HOME": "/x", **environ}, limits=QUICK), Silent()).push([shipment])
        assert (pushed.mounted, pushed.uploaded) == (2, 0)
        assert ["repository:team/b:pull,push", "repository:team/a:pull"] in [scopes for _, scopes, _ in tokens.asked]

    def test_without_a_login_there_is_a_token_to_pull_with_and_none_to_push(
        self, store: Store, guarded: Registry, tokens: TokenServer, tmp_path: Path
    ) -> None:
        pushed = push(store, f"{guarded.host}/a:1", login(tmp_path, guarded.host))
        reference = ImageReference.parse(f"{guarded.host}/a:1")
        anonymous = Registries({"HOME": "/nonexistent"}, limits=QUICK).repository(reference)
        assert anonymous.manifest(reference).digest == pushed.digest
        assert tokens.asked[-1] == ("GET", ["repository:a:pull"], None)
        with pytest.raises(FetchError, match="cannot") as caught:
            push(store, f"{guarded.host}/a:2")
        assert "docker login" in caught.value.hint

    def test_a_refresh_token_is_sent_by_post(
        self, store: Store, guarded: Registry, tokens: TokenServer, tmp_path: Path
    ) -> None:
        tokens.refresh.add("r3fresh")
        (tmp_path / "config.json").write_text(json.dumps({"auths": {guarded.host: {"identitytoken": "r3fresh"}}}))
        assert push(store, f"{guarded.host}/a", {"DOCKER_CONFIG": str(tmp_path)}).uploaded == 3
        assert tokens.asked[0] == ("POST", ["repository:a:pull,push"], None)

    @pytest.mark.parametrize("kind", ["password", "identitytoken"])
    def test_a_wrong_login_is_said_and_not_shown(
        self, store: Store, guarded: Registry, tmp_path: Path, kind: str
    ) -> None:
        entry = {"username": USER, "password": "wr0ng"} if kind == "password" else {kind: "wr0ng"}
        (tmp_path / "config.json").write_text(json.dumps({"auths": {guarded.host: entry}}))
        with pytest.raises(FetchError, match=f"{guarded.host} lets nobody in") as caught:
            push(store, f"{guarded.host}/a", {"DOCKER_CONFIG": str(tmp_path)})
        assert "wr0ng" not in str(caught.value)

    def test_a_token_that_ran_out_is_had_again(
        self, store: Store, guarded: Registry, tokens: TokenServer, tmp_path: Path
    ) -> None:
        registries = Registries({"HOME": "/x", **login(tmp_path, guarded.host)}, limits=QUICK)
        tokens.lifetime = -120  # beyond what the registry forgives
        reference = ImageReference.parse(f"{guarded.host}/a")
        repository = registries.repository(reference, push=True)
        with pytest.raises(FetchError):
            repository.begin_upload()
        tokens.lifetime = 300
        assert repository.begin_upload()
        assert len(tokens.asked) == 2

    @pytest.mark.parametrize(
        "answer", [b"{}", b"[]", b"x", b'{"token": 3}', b'{"token": "a\\nb"}', '{"token": "é"}'.encode()]
    )
    def test_an_answer_without_a_token_is_said(self, store: Store, answer: bytes) -> None:
        with record({"/token?service=s&scope=repository%3Aa%3Apull": (200, {}, answer)}) as (realm, _):
            challenge = {"WWW-Authenticate": f'Bearer realm="{realm}/token",service="s"'}
            with record({"/v2/": (200, {}, b""), "/v2/a/manifests/latest": (401, challenge, b"")}) as (url, _requests):
                reference = ImageReference.parse(f"{url.removeprefix('http://')}/a")
                with pytest.raises(FetchError, match="gives no token"):
                    Registries({"HOME": "/x"}, limits=QUICK).repository(reference).manifest(reference)

    def test_an_encrypted_registry_may_not_send_a_login_over_plain_http(self) -> None:
        from repro_env.image.registry.authority import _check_realm  # noqa: PLC0415 - no registry here is on TLS by name

        with pytest.raises(FetchError, match="cannot log in"):
            _check_realm("https://ghcr.io/v2/a/manifests/b", "http://auth.example/token")


class TestTls:
    def test_with_the_authority_named(self, store: Store, secure: Registry, certificate: tuple[Path, Path]) -> None:
        assert push(store, f"{secure.host}/a", {"SSL_CERT_FILE": str(certificate[0])}).uploaded == 3

    @pytest.mark.parametrize("engine", ["containers", "docker"])
    def test_with_the_authority_where_engines_look(
        self, store: Store, secure: Registry, certificate: tuple[Path, Path], tmp_path: Path, engine: str
    ) -> None:
        place = tmp_path / ".config" / engine / "certs.d" / secure.host
        place.mkdir(parents=True)
        (place / "ca.crt").write_bytes(certificate[0].read_bytes())
        assert push(store, f"{secure.host}/b", {"HOME": str(tmp_path)}).uploaded == 3

    def test_a_certificate_that_is_none_is_named(self, store: Store, secure: Registry, tmp_path: Path) -> None:
        place = tmp_path / ".config" / "docker" / "certs.d" / secure.host
        place.mkdir(parents=True)
        (place / "ca.crt").write_text("x")
        with pytest.raises(FetchError) as caught:
            push(store, f"{secure.host}/b", {"HOME": str(tmp_path)})
        assert f"cannot use the certificates in {place}" in caught.value.why

    def test_without_it_the_certificate_is_what_is_said(self, store: Store, secure: Registry) -> None:
        with pytest.raises(FetchError) as caught:
            push(store, f"{secure.host}/a")
        assert "certificate" in caught.value.why
        assert "SSL_CERT_FILE" in caught.value.hint


class TestPlain:
    def test_is_for_this_machine_or_for_who_asks(self, store: Store, tmp_path: Path) -> None:
        with run_registry(tmp_path / "open") as registry:
            port = registry.host.partition(":")[2]
            assert push(store, f"localhost:{port}/a").uploaded == 3
            reference = f"{OTHER_NAME}:{port}/a"
            with pytest.raises(FetchError):
                push(store, reference)
            named = {"REPRO_INSECURE_REGISTRIES": f"other.example, {OTHER_NAME}:{port}"}
            assert push(store, reference, named).uploaded == 3

    def test_a_registry_that_is_not_there_is_said(self, store: Store) -> None:
        with pytest.raises(FetchError) as caught:
            push(store, f"127.0.0.1:{unused_port()}/a")
        assert "cannot connect" in caught.value.why

    def test_what_is_no_registry_is_said(self, store: Store) -> None:
        with record({}) as (url, _), pytest.raises(FetchError):
            push(store, f"{url.removeprefix('http://')}/a")
