"""The API of a Docker engine: HTTP over its socket, with nothing but the standard library.

Paths have no version in front, which means the engine's own: no engine is too new or, from 1.41 on, too old.
Source: Docker Engine API, https://docs.docker.com/reference/api/engine/.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

from repro_env.errors import RuntimeUnavailableError

_CONNECT_SECONDS = 10.0
_HEADER_BYTES = 64 << 10
_REFUSED = 400
_UNIX = "unix://"
_UPGRADED = (200, 101)


class EngineRefusedError(RuntimeUnavailableError):
    """What the engine does not do: `status` is HTTP's, 404 for what it does not have."""

    def __init__(self, what: str, why: str, status: int) -> None:
        super().__init__(what, why)
        self.status = status


class _Connection(http.client.HTTPConnection):
    """A connection to a socket of this machine, or to a port of another one."""

    def __init__(self, host: str) -> None:
        super().__init__("docker")
        self._address = host

    def connect(self) -> None:
        self.sock = _connected(self._address)


def _connected(host: str) -> socket.socket:
    """Return a socket that is connected to `unix://PATH` or `tcp://HOST:PORT`. Errors: `OSError`."""
    if host.startswith(_UNIX):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(_CONNECT_SECONDS)
        try:
            connection.connect(host.removeprefix(_UNIX))
        except OSError:
            connection.close()
            raise
    else:
        parts = urlsplit(host)
        address = (parts.hostname or "localhost", parts.port or 2375)
        connection = socket.create_connection(address, timeout=_CONNECT_SECONDS)
    connection.settimeout(None)  # an image may take its time, and a container more
    return connection


class Engine:
    """The engine at an address. Every method's errors: `EngineRefusedError`, `RuntimeUnavailableError`."""

    def __init__(self, host: str) -> None:
        """`host` is as `DOCKER_HOST` has it. Errors: `RuntimeUnavailableError` where it takes more than a socket."""
        scheme = host.partition("://")[0]
        if scheme not in {"unix", "tcp", "http"}:
            hint = "use an engine on a unix:// socket; `ssh -L` brings one here"
            raise RuntimeUnavailableError(f"cannot talk to a Docker engine at {scheme}://", "", hint)
        self.host = host

    def ask(
        self, method: str, path: str, query: Mapping[str, object] | None = None, body: Mapping[str, Any] | None = None
    ) -> Any:
        """Return what the engine answers, None for nothing. `body` is sent as JSON."""
        data = b"" if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        with self._answer(method, _target(path, query), data, headers) as answer:
            content = answer.read()
        return json.loads(content) if content else None

    def send(self, path: str, pieces: Iterable[bytes]) -> Iterator[Mapping[str, Any]]:
        """Post what is too much to hold, and yield the documents that the engine answers, one a line."""
        with self._answer("POST", path, pieces, {"Content-Type": "application/x-tar"}) as answer:
            for line in answer:
                if line.strip():
                    yield json.loads(line)

    def attach(self, container: str) -> socket.socket:
        """Return the connection that carries a container's three streams; see `frames`."""
        path = _target(f"/containers/{container}/attach", {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
        request = (
            f"POST {path} HTTP/1.1\r\nHost: docker\r\nUpgrade: tcp\r\nConnection: Upgrade\r\nContent-Length: 0\r\n\r\n"
        )
        with _silence():
            connection = _connected(self.host)
            connection.sendall(request.encode())
            header = b""
            while not header.endswith(b"\r\n\r\n"):  # byte by byte, since what follows is the container's
                byte = connection.recv(1)
                if not byte or len(header) > _HEADER_BYTES:
                    raise OSError("the connection broke off")
                header += byte
        status = int(header.split(None, 2)[1])
        if status not in _UPGRADED:
            connection.close()
            raise EngineRefusedError(f"the Docker engine refused to attach {container}", f"status {status}", status)
        return connection

    @contextlib.contextmanager
    def _answer(
        self, method: str, target: str, body: bytes | Iterable[bytes], headers: Mapping[str, str]
    ) -> Iterator[http.client.HTTPResponse]:
        connection = _Connection(self.host)
        with _silence(), contextlib.closing(connection):
            chunked = not isinstance(body, bytes)
            extra = {"Transfer-Encoding": "chunked"} if chunked else {}
            connection.request(method, target, body, {**headers, **extra}, encode_chunked=chunked)
            answer = connection.getresponse()
            if answer.status >= _REFUSED:
                path = target.partition("?")[0]
                what = f"the Docker engine refused {method} {path}"
                raise EngineRefusedError(what, _message(answer.read()), answer.status)
            yield answer


def frames(connection: socket.socket) -> Iterator[tuple[int, bytes]]:
    """Yield what a container writes, each piece with its descriptor, 1 or 2, to the end.

    Source: `POST /containers/ID/attach`, "Stream format". Errors: `OSError`.
    """
    with connection.makefile("rb") as stream:
        while len(header := stream.read(8)) == 8:  # noqa: PLR2004 - descriptor, three zeros, four bytes of length
            yield header[0], stream.read(int.from_bytes(header[4:], "big"))


def _target(path: str, query: Mapping[str, object] | None) -> str:
    return f"{path}?{urlencode(query)}" if query else path


def _message(content: bytes) -> str:
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return str(json.loads(content)["message"])
    return content.decode(errors="replace").strip()


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Turn a connection that fails into the error of an engine that does not answer."""
    try:
        yield
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise RuntimeUnavailableError("the Docker engine does not answer", str(error)) from error
