"""A stand-in for the Hugging Face Hub: the parts of its interface that reading a repository takes.

with hub({"raw.csv": b"...", "model.safetensors": b"..."}) as running:
    running.url         what HF_ENDPOINT is to be
    running.commit()    another commit with the files of `running.files`
"""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator, Mapping
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = (".safetensors", ".parquet", ".bin")
"""Files that the Hub keeps as Git LFS objects; the others are in git."""
_PAGE = 2


class Hub:
    """One dataset, `acme/birds`, whose `main` is its newest commit. With a token it is for those who have that."""

    def __init__(self, files: Mapping[str, bytes], token: str) -> None:
        self.files = dict(files)
        self.token = token
        self.url = ""
        self.cdn = ""
        self.commits: dict[str, dict[str, bytes]] = {}
        self.log: list[tuple[str, str, str | None]] = []
        self.commit()

    def commit(self) -> str:
        """Make a commit of the files as they are now."""
        name = hashlib.sha1(repr(sorted(self.files.items())).encode()).hexdigest()
        self.commits[name] = dict(self.files)
        return name

    @property
    def newest(self) -> str:
        return next(reversed(self.commits))


@contextlib.contextmanager
def hub(files: Mapping[str, bytes], *, token: str = "") -> Iterator[Hub]:
    """Serve a Hub, and its content network at an address of its own, until the block ends."""
    running = Hub(files, token)
    with _serving(running) as running.url, _serving(running) as running.cdn:
        yield running


@contextlib.contextmanager
def _serving(running: Hub) -> Iterator[str]:
    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    listener.daemon_threads = True
    listener.hub = running  # type: ignore[attr-defined]
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.server_address[1]}"
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self._answer(unquote(parts.path), parse_qs(parts.query), b"")

    def do_POST(self) -> None:
        self._answer(self.path, {}, self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, path: str, query: Mapping[str, list[str]], body: bytes) -> None:
        hub: Hub = self.server.hub  # type: ignore[attr-defined]
        hub.log.append((self.command, self.path, self.headers.get("Authorization")))
        if path.startswith("/cdn/"):
            self._send(200, next(data for data in hub.files.values() if hashlib.sha256(data).hexdigest() == path[5:]))
            return
        if hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
            self._send(401, b"{}")
            return
        words = path.removeprefix("/api").strip("/").split("/")
        if words[:3] != ["datasets", "acme", "birds"] or len(words) < 5:
            self._send(404, b"{}")
            return
        action, revision, rest = words[3], words[4], "/".join(words[5:])
        commit = hub.newest if revision == "main" else revision
        files = hub.commits.get(commit)
        if files is None:
            self._send(404, b"{}")
        elif action == "revision":
            self._json({"sha": commit})
        elif action == "paths-info":
            self._json([found for wanted in json.loads(body)["paths"] for found in _info(files, wanted)])
        elif action == "tree":
            self._tree(files, rest, commit, int(query.get("cursor", ["0"])[0]))
        elif action == "resolve" and rest in files:
            self._file(hub, rest, files[rest])
        else:
            self._send(404, b"{}")

    def _tree(self, files: Mapping[str, bytes], below: str, commit: str, cursor: int) -> None:
        listed = [one for name in sorted(files) if name.startswith(below) for one in _info(files, name)]
        page = listed[cursor : cursor + _PAGE]
        link = {}
        if cursor + _PAGE < len(listed):
            here = f"/api/datasets/acme/birds/tree/{commit}/{below}".rstrip("/")
            link = {"Link": f'<{here}?recursive=true&cursor={cursor + _PAGE}>; rel="next"'}
        self._send(200, json.dumps(page).encode(), **link)

    def _file(self, hub: Hub, name: str, content: bytes) -> None:
        if name.endswith(LARGE):
            target = f"{hub.cdn}/cdn/{hashlib.sha256(content).hexdigest()}?X-Amz-Signature=abcdef"
            self._send(302, b"", Location=target)
        else:
            self._send(200, content)

    def _json(self, document: object) -> None:
        self._send(200, json.dumps(document).encode())

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


def _info(files: Mapping[str, bytes], name: str) -> Iterator[dict[str, object]]:
    if name in files:
        content = files[name]
        oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        large = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
        yield {"type": "file", "path": name, "size": len(content), "oid": oid} | (
            {"lfs": large} if name.endswith(LARGE) else {}
        )
    elif any(other.startswith(f"{name}/") for other in files):
        yield {"type": "directory", "path": name, "size": 0, "oid": "0" * 40}
