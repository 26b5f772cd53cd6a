"""A web server on loopback that records the headers it is sent and answers what a test says.

with record(answers) as (url, requests): ...

`answers` maps a path to `(status, headers, body)`; `requests` collects `(path, headers)`. With `authorization`, a
request without that header's value is answered 401; with `certificate`, a file and its key's, it speaks https.
"""

from __future__ import annotations

import contextlib
import http.server
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

Answer = tuple[int, Mapping[str, str], bytes]


@contextlib.contextmanager
def record(
    answers: Mapping[str, Answer], *, authorization: str = "", certificate: tuple[Path, Path] | None = None
) -> Iterator[tuple[str, list[tuple[str, dict[str, str]]]]]:
    """Serve until the block ends. A path without an answer is 404; `Host` is what the client connected to."""
    requests: list[tuple[str, dict[str, str]]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, *, body: bool) -> None:
            requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            status, headers, content = answers.get(self.path, (404, {}, b""))
            if authorization and self.headers.get("Authorization") != authorization:
                status, headers, content = 401, {"WWW-Authenticate": "Basic"}, b""
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if body:
                self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *_: None  # type: ignore[method-assign] # a client that trusts it not hangs up
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_address[1]}", requests
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def unused_port() -> int:
    """Return a port on loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
