"""A proxy on loopback in front of a registry that passes everything on, and does wrong on purpose.

with run_proxy(registry.host) as proxy:
    proxy.host            "127.0.0.1:PORT"
    proxy.fault(Fault("PUT", "/blobs/uploads/", status=503, times=2))
    proxy.log             [("HEAD", "/v2/a/blobs/sha256:..."), ...]
"""

from __future__ import annotations

import contextlib
import http.client
import http.server
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

_HOP = {"connection", "transfer-encoding", "keep-alive"}


@dataclass(slots=True)
class Fault:
    """What goes wrong with requests of a method whose path and query match, the next `times` times.

    `status`, with `headers`: answer this and pass nothing on. `drop`: pass so many bytes of the request's body on,
    then break both connections off. `cut`: break off after so many bytes of the answer. `stall`: wait so many seconds
    before answering. `flip`: change a bit of the body, of the `request` or of the `answer`. `refuse`: break off.
    """

    method: str
    path: str
    times: int = 1
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    drop: int | None = None
    cut: int | None = None
    stall: float = 0.0
    flip: str = ""
    refuse: bool = False


class Proxy:
    """A running proxy: where it is, what it saw, and what it will do wrong."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.host = ""
        self.log: list[tuple[str, str]] = []
        self.received = 0  # bytes of request bodies
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def fault(self, fault: Fault) -> None:
        """Let this go wrong."""
        with self._lock:
            self._faults.append(fault)

    def asked(self, method: str, path: str = "") -> int:
        """How many requests of a method had this in their path."""
        with self._lock:
            return sum(1 for known, place in self.log if known == method and re.search(path, place))

    def take(self, method: str, path: str) -> Fault:
        """Note a request and return what is to go wrong with it."""
        with self._lock:
            self.log.append((method, path))
            for fault in self._faults:
                if fault.times and fault.method == method and re.search(fault.path, path):
                    fault.times -= 1
                    return fault
        return Fault(method, path)


@contextlib.contextmanager
def run_proxy(upstream: str) -> Iterator[Proxy]:
    """Pass requests on to `upstream`, HOST:PORT, until the block ends."""
    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    listener.daemon_threads = True
    proxy = Proxy(upstream)
    proxy.host = f"127.0.0.1:{listener.server_address[1]}"
    listener.repro = proxy  # type: ignore[attr-defined]
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_any(self) -> None:
        proxy: Proxy = self.server.repro  # type: ignore[attr-defined]
        fault = proxy.take(self.command, self.path)
        if fault.refuse:
            self.close_connection = True
            self.connection.close()
            return
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size)
        proxy.received += len(body)
        if fault.flip == "request":
            body = _flipped(body)
        if fault.status:
            self._answer(fault.status, dict(fault.headers), b"", fault)
            return
        if fault.drop is not None:
            self._pass_a_part(proxy, body[: fault.drop], size)
            return
        upstream = http.client.HTTPConnection(proxy.upstream, timeout=30)
        try:
            headers = {name: ", ".join(self.headers.get_all(name) or ()) for name in self.headers}
            upstream.request(self.command, self.path, body, headers)
            response = upstream.getresponse()
            content = response.read()
            headers = {name: value for name, value in response.getheaders() if name.lower() not in _HOP}
        finally:
            upstream.close()
        if fault.flip == "answer":
            content = _flipped(content)
        time.sleep(fault.stall)
        self._answer(response.status, headers, content, fault)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815 - the base class's names

    def _pass_a_part(self, proxy: Proxy, part: bytes, size: int) -> None:
        upstream = http.client.HTTPConnection(proxy.upstream, timeout=30)
        upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            upstream.putheader(name, value)
        upstream.endheaders()
        upstream.send(part)
        time.sleep(0.1)
        upstream.close()
        time.sleep(0.2)  # the registry notices, and keeps what it has
        self.close_connection = True
        self.connection.close()

    def _answer(self, status: int, headers: dict[str, str], content: bytes, fault: Fault) -> None:
        headers = {name.title(): value for name, value in headers.items()}
        headers.setdefault("Content-Length", str(len(content)))
        with contextlib.suppress(ConnectionError):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content if fault.cut is None else content[: fault.cut])
        if fault.cut is not None:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


def _flipped(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1]) if content else content
