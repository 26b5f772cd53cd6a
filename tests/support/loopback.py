"""A web server on loopback that tests can shape: files of a directory, and faults on purpose.

with serve(directory) as server:
    server.url            "http://127.0.0.1:PORT"
    server.log            [("GET", "/simple/numpy/", None), ...] with the Range header asked for
    server.fault("/a", Fault(status=503, times=2))
"""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit


@dataclass(slots=True, kw_only=True)
class Fault:
    """What goes wrong with a path, the next `times` times it is asked for.

    `status`: answer this instead; `cut`: close the connection after so many bytes of the body; `stall`: wait so many
    seconds first; `slow`: after so many bytes of the body, wait so many seconds; `content`: send these bytes instead;
    `resume`: False ignores a Range header.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    slow: tuple[int, float] | None = None
    stall: float = 0.0
    content: bytes | None = None
    resume: bool = True
    times: int = 1


class Server:
    """A running server: its address, what it was asked for, and its faults."""

    def __init__(self, root: Path, address: tuple[str, int]) -> None:
        self.root = root
        self.url = f"http://{address[0]}:{address[1]}"
        self.log: list[tuple[str, str, str | None]] = []
        self._faults: dict[str, Fault] = {}
        self._lock = threading.Lock()

    def fault(self, path: str, fault: Fault) -> None:
        """Let this go wrong for `path`, which begins with a slash."""
        with self._lock:
            self._faults[path] = fault

    def take(self, method: str, path: str, asked_range: str | None) -> Fault:
        """Note a request and return the fault that applies to it, or one in which nothing is wrong."""
        with self._lock:
            self.log.append((method, path, asked_range))
            fault = self._faults.get(path)
            if fault is None or fault.times == 0:
                return Fault()
            fault.times -= 1
            return fault

    def asked(self, path: str) -> int:
        """How many times a path was asked for."""
        with self._lock:
            return sum(1 for _method, asked, _range in self.log if asked == path)


@contextlib.contextmanager
def serve(root: Path) -> Iterator[Server]:
    """Serve the files below `root` until the block ends; a directory answers with its `index.html`."""
    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    listener.daemon_threads = True
    listener.handle_error = lambda *_: None  # type: ignore[method-assign] # a client that was killed hangs up
    server = Server(root, ("127.0.0.1", listener.server_address[1]))
    listener.repro = server  # type: ignore[attr-defined]
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()


def write_simple_index(root: Path, wheels: Sequence[Path]) -> None:
    """Lay out a PEP 503 index of these wheels below `root`: `simple/NAME/index.html` and `files/`."""
    (root / "files").mkdir(parents=True, exist_ok=True)
    projects: dict[str, list[Path]] = {}
    for wheel in wheels:
        projects.setdefault(wheel.name.split("-")[0].lower().replace("_", "-"), []).append(wheel)
    for project, found in projects.items():
        page = root / "simple" / project / "index.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text("<!DOCTYPE html><body>" + "\n".join(_anchor(root, wheel) for wheel in found) + "</body>")
    names = "\n".join(f'<a href="{project}/">{project}</a>' for project in projects)
    (root / "simple" / "index.html").write_text(f"<!DOCTYPE html><body>{names}</body>")


def _anchor(root: Path, wheel: Path) -> str:
    content = wheel.read_bytes()
    target = root / "files" / wheel.name
    if not target.exists():
        target.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    return f'<a href="../../files/{wheel.name}#sha256={digest}">{wheel.name}</a><br>'


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        server: Server = self.server.repro  # type: ignore[attr-defined]
        path = unquote(urlsplit(self.path).path)
        asked = self.headers.get("Range")
        fault = server.take(self.command, path, asked)
        time.sleep(fault.stall)
        content = fault.content if fault.content is not None else _read(server.root, path)
        status = fault.status if fault.status != 200 else 404 if content is None else 200
        start = 0
        if status == 200 and content is not None and asked and fault.resume:
            start = int(asked.removeprefix("bytes=").partition("-")[0])
            status = 206 if start < len(content) else 416
        self._send(status, content if status in (200, 206) else None, start, fault, body=body)

    def _send(self, status: int, content: bytes | None, start: int, fault: Fault, *, body: bool) -> None:
        rest = (content or b"")[start:]
        self.send_response(status)
        self.send_header("Content-Length", str(len(rest)))
        self.send_header("Content-Type", "text/html" if self.path.endswith("/") else "application/octet-stream")
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{start + len(rest) - 1}/{start + len(rest)}")
        for name, value in fault.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            with contextlib.suppress(ConnectionError):
                if fault.slow is not None:
                    self.wfile.write(rest[: fault.slow[0]])
                    time.sleep(fault.slow[1])
                    rest = rest[fault.slow[0] :]
                self.wfile.write(rest if fault.cut is None else rest[: fault.cut])
        if fault.cut is not None:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing: the server's own log has it."""


def _read(root: Path, path: str) -> bytes | None:
    target = root / path.lstrip("/")
    target = target / "index.html" if target.is_dir() else target
    if ".." in target.parts or not target.is_file():
        return None
    return target.read_bytes()
