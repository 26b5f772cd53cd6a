"""The client of a Docker engine against a small one on a socket of its own."""

from __future__ import annotations

import hashlib
import http.server
import json
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from repro_env.edges.engine import Engine, EngineRefusedError, frames
from repro_env.errors import RuntimeUnavailableError
from repro_env.image.docker_engine import _known_layers, engine_errors, engine_host


class _Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/images/json":
            self.say(200, [{"Id": "gone"}, {"Id": "here"}, {"Id": "empty"}])
        elif self.path in ("/images/here/json", "/images/empty/json"):
            self.say(200, {"RootFS": {"Layers": ["sha256:a"]} if "here" in self.path else {}})
        elif self.path == "/odd":
            self.say(500, b"no JSON")
        else:
            self.say(404, {"message": f"no such image: {self.path}"})

    def do_POST(self) -> None:
        if self.path.startswith("/containers/c/attach"):
            self.close_connection = True
            self.wfile.write(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
            for descriptor, data in ((1, b"out\0"), (2, b"err"), (1, b"")):
                self.wfile.write(bytes([descriptor, 0, 0, 0]) + len(data).to_bytes(4, "big") + data)
        elif self.path.startswith("/containers/gone"):
            self.say(404, {"message": "no such container"})
        elif self.headers.get("Transfer-Encoding") == "chunked":
            self.say(200, b"".join(json.dumps({"stream": text}).encode() + b"\r\n" for text in self.pieces()))
        else:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.say(204 if self.path == "/nothing" else 200, {"path": self.path, "body": body.decode()})

    def pieces(self) -> Iterator[str]:
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size).decode()
            self.rfile.readline()
        self.rfile.readline()

    def say(self, status: int, content: Any) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(0 if status == 204 else len(data)))
        self.end_headers()
        self.wfile.write(b"" if status == 204 else data)

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""

    def address_string(self) -> str:
        return "here"


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def handle_error(self, _request: object, _address: object) -> None:
        """Say nothing of clients that go away."""


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    path = tmp_path / "engine #1.sock"
    with _Server(str(path), _Answers) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield Engine(f"unix://{path}")
        server.shutdown()
        thread.join()


def test_a_question_and_its_answer(engine: Engine) -> None:
    found = engine.ask("POST", "/containers/create", {"name": "a b"}, {"Image": "x"})
    assert found == {"path": "/containers/create?name=a+b", "body": '{"Image": "x"}'}
    assert engine.ask("POST", "/nothing") is None


def test_a_refusal_says_what_the_engine_says(engine: Engine) -> None:
    with pytest.raises(EngineRefusedError, match="refused GET /images/x/json") as caught:
        engine.ask("GET", "/images/x/json", {"q": 1})
    assert (caught.value.status, caught.value.why) == (404, "no such image: /images/x/json?q=1")
    with (
        pytest.raises(RuntimeUnavailableError, match="the step cannot start\n  no JSON"),
        engine_errors("the step cannot start"),
    ):
        engine.ask("GET", "/odd")


def test_pieces_are_sent_as_they_come(engine: Engine) -> None:
    assert list(engine.send("/images/load", iter([b"one", b"two"]))) == [{"stream": "one"}, {"stream": "two"}]


def test_streams_of_a_container(engine: Engine) -> None:
    with engine.attach("c") as connection:
        assert list(frames(connection)) == [(1, b"out\0"), (2, b"err"), (1, b"")]
    with pytest.raises(EngineRefusedError) as caught:
        engine.attach("gone")
    assert caught.value.status == 404


def test_an_engine_that_does_not_answer(tmp_path: Path) -> None:
    engine = Engine(f"unix://{tmp_path}/none.sock")
    for ask in (lambda: engine.ask("GET", "/info"), lambda: engine.attach("c")):
        with pytest.raises(RuntimeUnavailableError, match="does not answer") as caught:
            ask()
        assert "No such file" in caught.value.why


def test_an_engine_that_takes_more_than_a_socket_is_refused_without_its_address() -> None:
    with pytest.raises(RuntimeUnavailableError) as caught:
        Engine("ssh://user@build")
    assert caught.value.what == "cannot talk to a Docker engine at ssh://"


def test_an_image_that_is_removed_meanwhile_does_not_count(engine: Engine) -> None:
    assert list(_known_layers(engine)) == [["sha256:a"], ()]


# Where it is


def context(directory: Path, name: str, host: str) -> None:
    place = directory / "contexts/meta" / hashlib.sha256(name.encode()).hexdigest()
    place.mkdir(parents=True)
    (place / "meta.json").write_text(json.dumps({"Name": name, "Endpoints": {"docker": {"Host": host}}}))


def test_the_address_is_the_variables_then_the_contexts_then_the_usual(tmp_path: Path) -> None:
    usual = "unix:///var/run/docker.sock"
    environ = {"DOCKER_CONFIG": str(tmp_path)}
    assert engine_host(environ) == usual
    (tmp_path / "config.json").write_text('{"currentContext": "rootless"}')
    assert engine_host(environ) == usual  # a context that is gone
    context(tmp_path, "rootless", "unix:///run/user/1000/docker.sock")
    context(tmp_path, "remote", "ssh://build")
    assert engine_host(environ) == "unix:///run/user/1000/docker.sock"
    assert engine_host({**environ, "DOCKER_CONTEXT": "remote"}) == "ssh://build"
    assert engine_host({**environ, "DOCKER_HOST": "tcp://here:1"}) == "tcp://here:1"


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"currentContext": 3}', '{"currentContext": "default"}'])
def test_a_configuration_without_a_context(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    assert engine_host({"DOCKER_CONFIG": str(tmp_path)}) == "unix:///var/run/docker.sock"
