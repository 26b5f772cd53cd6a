"""The HTTP client against a real server on loopback that misbehaves on purpose."""

from __future__ import annotations

import base64
import email.utils
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from loopback import Fault, Server, serve
from recorder import record, unused_port

from repro_env.edges.credentials import Index
from repro_env.edges.http import NotFoundError
from repro_env.edges.http_client import HttpClient, Limits
from repro_env.errors import FetchError

CONTENT = bytes(range(256)) * 4096
QUICK = Limits(connect=2, read=0.5, attempts=3, pause=0.01, retry_after=5)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    root = tmp_path / "served"
    root.mkdir()
    (root / "blob").write_bytes(CONTENT)
    with serve(root) as running:
        yield running


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def client(pauses: list[float]) -> HttpClient:
    return HttpClient(environ={"HOME": "/nonexistent"}, limits=QUICK, sleep=pauses.append)


def test_a_document_is_read_whole(client: HttpClient, server: Server) -> None:
    assert client.get(f"{server.url}/blob", limit=len(CONTENT)) == CONTENT


def test_a_document_above_its_limit_is_refused(client: HttpClient, server: Server) -> None:
    with pytest.raises(FetchError, match="cannot use") as caught:
        client.get(f"{server.url}/blob", limit=1000)
    assert "larger than the 1000 B" in caught.value.why


@pytest.mark.parametrize("status", [404, 410])
def test_an_absent_thing_is_told_apart_and_not_asked_for_again(client: HttpClient, server: Server, status: int) -> None:
    server.fault("/blob", Fault(status=status))
    with pytest.raises(NotFoundError):
        client.get(f"{server.url}/blob", limit=10)
    assert server.asked("/blob") == 1


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_passing_failure_is_tried_again(client: HttpClient, server: Server, pauses: list[float], status: int) -> None:
    server.fault("/blob", Fault(status=status, times=2))
    assert client.get(f"{server.url}/blob", limit=1 << 30) == CONTENT
    assert pauses == [0.01, 0.02]


def test_a_failure_that_stays_is_given_up_after_the_set_attempts(client: HttpClient, server: Server) -> None:
    server.fault("/blob", Fault(status=503, times=-1))
    with pytest.raises(FetchError, match="cannot download") as caught:
        client.get(f"{server.url}/blob", limit=10)
    assert "503" in caught.value.why
    assert server.asked("/blob") == QUICK.attempts


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_refusal_is_final(client: HttpClient, server: Server, status: int) -> None:
    server.fault("/blob", Fault(status=status, times=-1))
    with pytest.raises(FetchError):
        client.get(f"{server.url}/blob", limit=10)
    assert server.asked("/blob") == 1


def test_the_servers_own_pause_is_kept(client: HttpClient, server: Server, pauses: list[float]) -> None:
    server.fault("/blob", Fault(status=429, headers={"Retry-After": "3"}))
    client.get(f"{server.url}/blob", limit=1 << 30)
    assert pauses == [3.0]


def test_a_pause_given_as_a_date_is_kept(client: HttpClient, server: Server, pauses: list[float]) -> None:
    date = email.utils.formatdate(time.time() + 4, usegmt=True)
    server.fault("/blob", Fault(status=503, headers={"Retry-After": date}))
    client.get(f"{server.url}/blob", limit=1 << 30)
    assert 2 < pauses[0] <= 4


def test_too_long_a_pause_is_not_waited_for(client: HttpClient, server: Server, pauses: list[float]) -> None:
    server.fault("/blob", Fault(status=429, headers={"Retry-After": "3600"}))
    with pytest.raises(FetchError) as caught:
        client.get(f"{server.url}/blob", limit=10)
    assert "asks to wait 3600 s" in caught.value.why
    assert pauses == []


def test_a_document_that_breaks_off_is_read_again(client: HttpClient, server: Server) -> None:
    server.fault("/blob", Fault(cut=1000, times=1))
    assert client.get(f"{server.url}/blob", limit=1 << 30) == CONTENT
    assert server.asked("/blob") == 2


def test_a_document_that_always_breaks_off_is_given_up(client: HttpClient, server: Server) -> None:
    server.fault("/blob", Fault(cut=1000, times=-1))
    with pytest.raises(FetchError, match="cannot download") as caught:
        client.get(f"{server.url}/blob", limit=1 << 30)
    assert "broke off" in caught.value.why
    assert server.asked("/blob") == QUICK.attempts


def test_a_silent_server_is_not_waited_for_without_end(client: HttpClient, server: Server) -> None:
    server.fault("/blob", Fault(stall=1.5, times=-1))
    began = time.monotonic()
    with pytest.raises(FetchError) as caught:
        client.get(f"{server.url}/blob", limit=1 << 30)
    assert "sent nothing for 0.5 s" in caught.value.why
    assert time.monotonic() - began < 4


def test_an_open_transfer_that_breaks_off_is_the_callers_to_resume(client: HttpClient, server: Server) -> None:
    server.fault("/blob", Fault(cut=5000))
    with client.open(f"{server.url}/blob") as body:
        got = bytearray()
        with pytest.raises(FetchError):
            got += b"".join(iter(body.chunks()))
    with client.open(f"{server.url}/blob", offset=5000) as body:
        assert body.offset == 5000
        assert b"".join(body.chunks()) == CONTENT[5000:]
    assert server.log[-1] == ("GET", "/blob", "bytes=5000-")


def test_a_server_that_cannot_resume_is_read_from_the_start(client: HttpClient, server: Server) -> None:
    server.fault("/blob", Fault(resume=False, times=-1))
    with client.open(f"{server.url}/blob", offset=5000) as body:
        assert body.offset == 0
        assert b"".join(body.chunks()) == CONTENT


def test_an_offset_past_the_end_reads_from_the_start(client: HttpClient, server: Server) -> None:
    with client.open(f"{server.url}/blob", offset=len(CONTENT) + 1) as body:
        assert body.offset == 0
        assert b"".join(body.chunks()) == CONTENT


def test_the_size_is_asked_without_the_content(client: HttpClient, server: Server) -> None:
    assert client.size(f"{server.url}/blob") == len(CONTENT)
    assert server.log == [("HEAD", "/blob", None)]


def test_a_size_that_no_content_has_is_not_known(client: HttpClient) -> None:
    with record({"/x": (200, {"Content-Length": "9" * 5000}, b"")}) as (url, _):
        assert client.size(f"{url}/x") is None


def test_a_refused_connection_is_said_with_a_hint(client: HttpClient) -> None:
    with pytest.raises(FetchError, match="cannot download") as caught:
        client.get(f"http://127.0.0.1:{unused_port()}/x", limit=10)
    assert caught.value.why == "cannot connect to 127.0.0.1: Connection refused"
    assert "check the network" in caught.value.hint


def test_a_host_without_address_is_said_with_a_hint(client: HttpClient, pauses: list[float]) -> None:
    with pytest.raises(FetchError) as caught:
        client.get("http://no-such-host.invalid/x", limit=10)
    assert caught.value.why == "there is no address for no-such-host.invalid"
    assert caught.value.hint
    assert len(pauses) == 1


@pytest.mark.parametrize(
    "url", ["ftp://host/x", "http://", "http://[::1", "http://host:99999/x", "git+https://host/x", "nonsense", ""]
)
def test_what_is_no_url_is_refused(client: HttpClient, url: str) -> None:
    with pytest.raises(FetchError):
        client.get(url, limit=10)


def test_what_is_no_http_is_refused(client: HttpClient, tmp_path: Path) -> None:
    with record({"/x": (200, {"Content-Length": "many"}, b"")}) as (url, _), pytest.raises(FetchError):
        client.get(f"{url}/x", limit=10)


class TestFileUrls:
    def test_a_file_is_read_from_an_offset(self, client: HttpClient, tmp_path: Path) -> None:
        path = tmp_path / "a file é.bin"
        path.write_bytes(CONTENT)
        assert client.get(path.as_uri(), limit=1 << 30) == CONTENT
        assert client.size(path.as_uri()) == len(CONTENT)
        with client.open(path.as_uri(), offset=7) as body:
            assert body.offset == 7
            assert b"".join(body.chunks()) == CONTENT[7:]

    def test_an_absent_file_is_not_found(self, client: HttpClient, tmp_path: Path) -> None:
        with pytest.raises(NotFoundError):
            client.get((tmp_path / "absent").as_uri(), limit=10)

    def test_a_directory_is_no_file(self, client: HttpClient, tmp_path: Path) -> None:
        with pytest.raises(FetchError, match="cannot read"):
            client.get(tmp_path.as_uri(), limit=10)

    @pytest.mark.parametrize(
        "url", ["file://server/share/x", "file://ann:s3cret@server/x", "file://[", "file:///a%00b"]
    )
    def test_what_can_be_no_file_of_this_machine_is_refused(self, client: HttpClient, url: str) -> None:
        with pytest.raises(FetchError, match="cannot read") as caught:
            client.get(url, limit=10)
        assert "s3cret" not in str(caught.value)


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class TestRedirects:
    def test_a_redirect_is_followed(self, client: HttpClient) -> None:
        with record({"/a": (302, {"Location": "/b"}, b""), "/b": (200, {}, b"there")}) as (url, _):
            assert client.get(f"{url}/a", limit=10) == b"there"

    def test_a_loop_ends(self, client: HttpClient) -> None:
        with record({"/a": (302, {"Location": "/a"}, b"")}) as (url, requests):
            with pytest.raises(FetchError) as caught:
                client.get(f"{url}/a", limit=10)
            assert "redirects more than 10 times" in caught.value.why
            assert len(requests) == 10

    @pytest.mark.parametrize("location", ["http://[", "http://127.0.0.1:port/", "//[::1"])
    def test_one_to_what_is_no_address_is_refused(self, client: HttpClient, location: str) -> None:
        with record({"/a": (302, {"Location": location}, b"")}) as (url, _), pytest.raises(FetchError, match="cannot"):
            client.get(f"{url}/a", limit=10)

    def test_credentials_stay_with_their_host(self, client: HttpClient) -> None:
        with (
            record({"/there": (200, {}, b"ok")}) as (other, at_other),
            record({"/here": (302, {"Location": f"{other}/there"}, b"")}) as (url, at_first),
        ):
            address = url.replace("//", "//ann:s3cret@")
            assert client.get(f"{address}/here", limit=10) == b"ok"
        assert at_first[0][1]["authorization"] == basic("ann", "s3cret")
        assert "authorization" not in at_other[0][1]


class TestCredentials:
    def ask(self, environ: dict[str, str], indexes: tuple[Index, ...] = (), userinfo: str = "") -> str | None:
        with record({"/x": (200, {}, b"ok")}) as (url, requests):
            port = url.rpartition(":")[2]
            filled = {name: value.replace("PORT", port) for name, value in environ.items()}
            known = [Index(name=one.name, url=one.url.replace("PORT", port)) for one in indexes]
            client = HttpClient(environ={"HOME": "/nonexistent", **filled}, indexes=known, limits=QUICK)
            client.get(f"{url.replace('//', '//' + userinfo)}/x", limit=10)
        return requests[0][1].get("authorization")

    def test_none_by_default(self) -> None:
        assert self.ask({}) is None

    def test_of_the_url_decoded(self) -> None:
        assert self.ask({}, userinfo="ann:p%40ss@") == basic("ann", "p@ss")

    @pytest.mark.parametrize("variable", ["UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_INDEX"])
    def test_of_uvs_variables(self, variable: str) -> None:
        assert self.ask({variable: "http://ann:pw@127.0.0.1:PORT/simple"}) == basic("ann", "pw")

    def test_of_a_named_index(self) -> None:
        environ = {
            "UV_INDEX": "my-own=http://127.0.0.1:PORT/simple",
            "UV_INDEX_MY_OWN_USERNAME": "ann",
            "UV_INDEX_MY_OWN_PASSWORD": "pw",
        }
        assert self.ask(environ) == basic("ann", "pw")

    def test_of_an_index_of_the_project(self) -> None:
        index = Index(name="inner", url="http://127.0.0.1:PORT/simple")
        assert self.ask({"UV_INDEX_INNER_PASSWORD": "pw"}, (index,)) == basic("", "pw")

    def test_of_another_port_not(self) -> None:
        assert self.ask({"UV_INDEX": "http://ann:pw@127.0.0.1:1/simple"}) is None

    def test_of_netrc(self, tmp_path: Path) -> None:
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login ann password pw\n")
        netrc.chmod(0o600)
        assert self.ask({"NETRC": str(netrc)}) == basic("ann", "pw")

    def test_of_netrc_at_home(self, tmp_path: Path) -> None:
        (tmp_path / ".netrc").write_text("machine 127.0.0.1 login ann password pw\n")
        (tmp_path / ".netrc").chmod(0o600)
        assert self.ask({"HOME": str(tmp_path)}) == basic("ann", "pw")

    def test_of_a_damaged_netrc_not(self, tmp_path: Path) -> None:
        (tmp_path / ".netrc").write_text("machine 127.0.0.1 lgin\n")
        assert self.ask({"HOME": str(tmp_path)}) is None

    @pytest.mark.parametrize("status", [401, 403, 404, 500])
    def test_are_in_no_error(self, status: int) -> None:
        with record({"/x": (status, {}, b"")}) as (url, _):
            client = HttpClient(environ={"HOME": "/nonexistent"}, limits=QUICK)
            with pytest.raises(FetchError) as caught:
                client.get(url.replace("//", "//ann:s3cret@") + "/x?token=s3cret", limit=10)
        assert "s3cret" not in str(caught.value)

    def test_are_in_no_error_of_a_connection(self) -> None:
        client = HttpClient(environ={"HOME": "/nonexistent"}, limits=QUICK)
        with pytest.raises(FetchError) as caught:
            client.get(f"http://ann:s3cret@127.0.0.1:{unused_port()}/x", limit=10)
        assert "s3cret" not in str(caught.value)


class TestProxies:
    def test_a_proxy_is_used_with_its_credentials(self) -> None:
        with record({"http://example.invalid/x": (200, {}, b"proxied")}) as (url, requests):
            client = HttpClient(environ={"http_proxy": url.replace("//", "//ann:pw@")}, limits=QUICK)
            assert client.get("http://example.invalid/x", limit=10) == b"proxied"
        assert requests[0][1]["proxy-authorization"] == basic("ann", "pw")

    @pytest.mark.parametrize("exceptions", ["127.0.0.1", "*", "other, 127.0.0.1", "127.0.0.1:PORT"])
    def test_an_exception_is_connected_to_directly(self, exceptions: str) -> None:
        with record({"/x": (200, {}, b"direct")}) as (url, _):
            port = url.rpartition(":")[2]
            environ = {"ALL_PROXY": f"http://127.0.0.1:{unused_port()}", "NO_PROXY": exceptions.replace("PORT", port)}
            assert HttpClient(environ=environ, limits=QUICK).get(f"{url}/x", limit=10) == b"direct"

    def test_a_dead_proxy_is_said_without_its_password(self) -> None:
        environ = {"HTTP_PROXY": f"http://ann:s3cret@127.0.0.1:{unused_port()}"}
        with pytest.raises(FetchError) as caught:
            HttpClient(environ=environ, limits=QUICK).get("http://example.invalid/x", limit=10)
        assert "proxy" in caught.value.why
        assert "s3cret" not in str(caught.value)

    @pytest.mark.parametrize("proxy", ["http://ann:s3cret@[", "http://ann:s3cret@h:port", "http://", "ann:s3cret@:80"])
    def test_what_is_no_address_is_refused_without_its_password(self, proxy: str) -> None:
        with pytest.raises(FetchError, match="cannot use the proxy") as caught:
            HttpClient(environ={"HTTP_PROXY": proxy}, limits=QUICK).get("http://example.invalid/x", limit=10)
        assert "s3cret" not in str(caught.value)

    def test_a_socks_proxy_is_refused_in_words(self) -> None:
        with pytest.raises(FetchError, match="cannot use the proxy"):
            HttpClient(environ={"ALL_PROXY": "socks5://ann:s3cret@h:1"}, limits=QUICK).get("http://h/x", limit=10)


class TestCertificates:
    def test_a_bundle_that_is_absent_is_said(self) -> None:
        with pytest.raises(FetchError, match="certificate bundle /nonexistent"):
            HttpClient(environ={"SSL_CERT_FILE": "/nonexistent"}, limits=QUICK).get("https://127.0.0.1:1/x", limit=10)

    def test_an_own_authority_is_trusted_when_named(
        self, tmp_path: Path, requires: Callable[..., None], client: HttpClient
    ) -> None:
        requires("openssl")
        key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
        words = (
            "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
        )
        subprocess.run([*words.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
        with record({"/x": (200, {}, b"ok")}, certificate=(certificate, key)) as (url, _):
            address = url.replace("127.0.0.1", "localhost") + "/x"
            with pytest.raises(FetchError) as caught:
                client.get(address, limit=10)
            trusting = HttpClient(environ={"SSL_CERT_FILE": str(certificate)}, limits=QUICK)
            assert trusting.get(address, limit=10) == b"ok"
        assert caught.value.why.startswith("the certificate of localhost cannot be verified: self")
        assert "SSL_CERT_FILE" in caught.value.hint

    def test_plain_http_behind_https_is_a_failure_in_words(self, client: HttpClient, server: Server) -> None:
        with pytest.raises(FetchError, match="cannot download"):
            client.get(server.url.replace("http:", "https:") + "/blob", limit=10)
