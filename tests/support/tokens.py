"""A token server on loopback for a registry that asks for tokens, as Docker Hub's and GitHub's do.

with run_token_server(directory) as server, run_registry(directory, token=server.settings) as registry: ...
"""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import secrets
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import machine

ISSUER, SERVICE = "test-issuer", "test-registry"


@dataclass(slots=True, kw_only=True)
class TokenServer:
    """A running token server.

    `logins` are the users it knows, `refresh` the refresh tokens; who is neither is anonymous and may only pull.
    `asked` holds each request's method, its scopes, and its `Authorization`.
    """

    url: str = ""
    directory: Path
    logins: dict[str, str] = field(default_factory=dict)
    refresh: set[str] = field(default_factory=set)
    asked: list[tuple[str, list[str], str | None]] = field(default_factory=list)
    lifetime: float = 300.0
    closed: bool = False  # whether who is anonymous gets nothing at all

    @property
    def settings(self) -> Mapping[str, str]:
        """What the registry is told."""
        certificate = str(self.directory / "token.crt")
        return {"realm": f"{self.url}/token", "service": SERVICE, "issuer": ISSUER, "rootcertbundle": certificate}

    def token(self, scopes: list[str], *, push: bool) -> str:
        """Return a token for what these scopes ask, less pushing for who may not."""
        now = time.time()
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":")
            granted = [action for action in actions.split(",") if push or action == "pull"]
            access.append({"type": kind, "name": name, "actions": granted})
        der = subprocess.run(
            ["openssl", "x509", "-in", str(self.directory / "token.crt"), "-outform", "DER"],
            check=True,
            capture_output=True,
        ).stdout
        head = {"typ": "JWT", "alg": "RS256", "x5c": [base64.b64encode(der).decode()]}
        claims: dict[str, Any] = {
            "iss": ISSUER,
            "sub": "",
            "aud": SERVICE,
            "jti": secrets.token_hex(8),
            "access": access,
        }
        claims |= {"iat": int(now), "nbf": int(now) - 60, "exp": int(now + self.lifetime)}
        signed = f"{_base64(json.dumps(head).encode())}.{_base64(json.dumps(claims).encode())}"
        signature = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", str(self.directory / "token.key")],
            input=signed.encode(),
            check=True,
            capture_output=True,
        ).stdout
        return f"{signed}.{_base64(signature)}"


@contextlib.contextmanager
def run_token_server(directory: Path) -> Iterator[TokenServer]:
    """Serve tokens until the block ends."""
    machine.require("openssl")
    names = ["-keyout", str(directory / "token.key"), "-out", str(directory / "token.crt")]
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=tokens"]
    subprocess.run([*words, *names], check=True, capture_output=True)
    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    listener.daemon_threads = True
    server = TokenServer(directory=directory, url=f"http://127.0.0.1:{listener.server_address[1]}")
    listener.repro = server  # type: ignore[attr-defined]
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server: TokenServer = self.server.repro  # type: ignore[attr-defined]
        query = parse_qs(urlsplit(self.path).query)
        header = self.headers.get("Authorization")
        server.asked.append(("GET", query.get("scope", []), header))
        known = header is not None and header in {_basic(*login) for login in server.logins.items()}
        refused = (header is not None and not known) or (header is None and server.closed)
        self._answer(server, query.get("scope", []), push=known, refused=refused)

    def do_POST(self) -> None:
        server: TokenServer = self.server.repro  # type: ignore[attr-defined]
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        scopes = form["scope"][0].split() if "scope" in form else []
        server.asked.append(("POST", scopes, self.headers.get("Authorization")))
        known = form["grant_type"] == ["refresh_token"] and form["refresh_token"][0] in server.refresh
        self._answer(server, scopes, push=known, refused=not known)

    def _answer(self, server: TokenServer, scopes: list[str], *, push: bool, refused: bool) -> None:
        name = "access_token" if self.command == "POST" else "token"
        document = {} if refused else {name: server.token(scopes, push=push), "expires_in": int(server.lifetime)}
        body = json.dumps(document).encode()
        self.send_response(401 if refused else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
