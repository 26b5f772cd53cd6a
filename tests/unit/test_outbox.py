"""What is to be sent is kept until it is: in order, through failures, and not twice."""

from __future__ import annotations

import fcntl
import functools
import http.server
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from records import FULL

from repro_env.cli.tracking import Tracker, tracked
from repro_env.config.read import read_project
from repro_env.edges.http_client import HttpClient, Limits
from repro_env.errors import FetchError, StoreError
from repro_env.record.sending.base import Bearer, NotThereError, RefusedError, exchange
from repro_env.record.sending.openlineage import FileLineage
from repro_env.record.sending.outbox import Outbox

PROJECT = """
[project]
name = "penguins"
[base.slim]
debian = "bookworm"
[step.clean]
base = "slim"
python = "3.11"
command = ["true"]
"""


@dataclass
class Tool:
    """A transport that keeps what it is given, and is down when told so."""

    down: bool = False
    got: list[Any] = field(default_factory=list)

    def send(self, document: Any) -> None:
        if self.down:
            raise FetchError("it is down")
        self.got.append(document)


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def outbox(directory: Path, tools: Mapping[str, Tool], clock: Clock) -> Outbox:
    return Outbox(directory, {kind: functools.partial(tools.__getitem__, kind) for kind in tools}, now=clock)


def test_documents_are_sent_in_the_order_of_their_names(tmp_path: Path) -> None:
    tools = {"a": Tool(), "b": Tool()}
    box = outbox(tmp_path / "box", tools, Clock())
    for name, kind in (("2", "a"), ("1", "a"), ("1", "b"), ("3", "a")):
        box.put(kind, name, {"name": name})
    assert box.deliver() == {}
    assert [document["name"] for document in tools["a"].got] == ["1", "2", "3"]
    assert len(tools["b"].got) == 1
    assert box.waiting() == []
    assert box.deliver() == {}
    assert len(tools["b"].got) == 1


def test_a_tool_that_is_down_loses_nothing_and_is_left_alone_for_a_while(tmp_path: Path) -> None:
    tools, clock = {"a": Tool(down=True), "b": Tool()}, Clock()
    box = outbox(tmp_path / "box", tools, clock)
    for name in ("1", "2"):
        box.put("a", name, name)
        box.put("b", name, name)
    assert [*box.deliver()] == ["a"]
    assert tools["b"].got == ["1", "2"], "another tool's documents go on"
    assert len(box.waiting()) == 2
    tools["a"].down = False
    assert box.deliver() == {}
    assert tools["a"].got == [], "it is not tried again at once"
    clock.now += 61
    box = outbox(tmp_path / "box", tools, clock)
    assert box.deliver() == {}
    assert tools["a"].got == ["1", "2"]
    assert box.waiting() == []


def test_it_is_tried_at_once_when_asked_to(tmp_path: Path) -> None:
    tools = {"a": Tool(down=True)}
    box = outbox(tmp_path / "box", tools, Clock())
    box.put("a", "1", "1")
    box.deliver()
    tools["a"].down = False
    assert box.deliver(again=True) == {}
    box.put("a", "2", "2")
    assert box.deliver() == {}
    assert tools["a"].got == ["1", "2"]


def test_a_run_does_not_wait_for_all_that_a_slow_tool_is_to_be_told(tmp_path: Path) -> None:
    clock = Clock()

    class Slow(Tool):
        def send(self, document: Any) -> None:
            clock.now += 3
            super().send(document)

    tools = {"a": Slow()}
    box = outbox(tmp_path / "box", tools, clock)
    for name in "1234":
        box.put("a", name, name)
    assert box.deliver() == {}
    assert tools["a"].got == ["1", "2"]
    assert box.deliver() == {}
    assert tools["a"].got == ["1", "2", "3", "4"]


def test_a_run_does_not_wait_for_what_another_process_sends(tmp_path: Path) -> None:
    class Passing(Clock):
        def __call__(self) -> float:
            self.now += 1
            return self.now

    tools = {"a": Tool()}
    box = outbox(tmp_path / "box", tools, Passing())
    box.put("a", "1", "1")
    with (tmp_path / "box" / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert box.deliver() == {}
        assert len(box.waiting()) == 1
    assert box.deliver() == {}
    assert tools["a"].got == ["1"]


def test_a_clock_that_went_back_does_not_hold_documents_for_ever(tmp_path: Path) -> None:
    tools, clock = {"a": Tool(down=True)}, Clock()
    box = outbox(tmp_path / "box", tools, clock)
    box.put("a", "1", "1")
    box.deliver()
    tools["a"].down, clock.now = False, 10.0
    box.deliver()
    assert tools["a"].got == ["1"]


def test_what_no_tool_takes_any_more_waits_and_what_is_damaged_is_put_aside(tmp_path: Path) -> None:
    tools = {"a": Tool()}
    box = outbox(tmp_path / "box", tools, Clock())
    box.put("gone", "1", "1")
    box.put("a", "1", "1")
    (tmp_path / "box" / "1.a.json").write_text("{")
    assert box.deliver() == {}
    assert [path.name for path in box.waiting()] == ["1.gone.json"]
    assert (tmp_path / "box" / "1.a.damaged").exists()


def test_a_document_that_is_refused_does_not_hold_up_the_next(tmp_path: Path) -> None:
    class Picky(Tool):
        def send(self, document: Any) -> None:
            if document == "1":
                raise RefusedError("it is no good")
            super().send(document)

    tools = {"a": Picky()}
    box = outbox(tmp_path / "box", tools, Clock())
    for name in "12":
        box.put("a", name, name)
    assert [*box.deliver()] == ["a"]
    assert tools["a"].got == ["2"]
    assert box.waiting() == []
    assert json.loads((tmp_path / "box" / "1.a.refused").read_text()) == "1"
    assert box.deliver() == {}


def test_what_is_no_utf8_is_told_as_people_are_shown_it(tmp_path: Path) -> None:
    tools = {"a": Tool()}
    box = outbox(tmp_path / "box", tools, Clock())
    box.put("a", "1", {"command": ["a\udcffb", "é \\udcff"]})
    assert box.deliver() == {}
    assert tools["a"].got == [{"command": ["a\\udcffb", "é \\udcff"]}]


def test_what_the_system_refuses_is_told_and_fails_no_run(tmp_path: Path) -> None:
    warnings: list[str] = []
    telling = tracker(tmp_path, '[export.openlineage]\nfile = "lineage.jsonl"\n', warnings)
    (tmp_path / ".repro/outbox/0.openlineage.json").mkdir(parents=True)
    telling.started(FULL)
    assert len(warnings) == 1
    assert "could not be told to others: cannot work in" in warnings[0]
    with pytest.raises(StoreError, match="Is a directory"):
        telling.deliver()


def test_what_failed_before_there_was_a_record_is_what_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPRO_SIGNING_KEY", str(tmp_path / "key"))
    (tmp_path / "key").write_text("key")
    exports = read_project(PROJECT + '[export.openlineage]\nfile = "lineage.jsonl"\n', file="repro.toml").exports
    with pytest.raises(StoreError, match="no space"), tracked(tmp_path / "run", exports, tmp_path, print):
        raise StoreError("no space")


class Collector:
    """An HTTP server that keeps what is posted to it."""

    def __init__(self) -> None:
        self.posted: list[tuple[str, str | None, Any]] = []
        self.status = 200
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.posted.append((self.path, self.headers["Authorization"], json.loads(body)))
                self.send_response(collector.status)
                answer = b'{"kept": true}' if collector.status < 300 else b"no such place"
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_words: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def collector() -> Iterator[Collector]:
    """Return a running collector."""
    found = Collector()
    thread = threading.Thread(target=found.server.serve_forever)
    thread.start()
    yield found
    found.server.shutdown()
    thread.join()
    found.server.server_close()


def tracker(root: Path, export: str, warnings: list[str]) -> Tracker:
    return Tracker(read_project(PROJECT + export, file="repro.toml").exports, root, warnings.append)


def test_a_service_is_told_of_start_and_end(
    tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENLINEAGE_API_KEY", "sesame")
    warnings: list[str] = []
    telling = tracker(tmp_path, f'[export.openlineage]\nurl = "{collector.url}/"\n', warnings)
    telling.started(FULL)
    telling.ended(FULL)
    assert [(path, key, event["eventType"]) for path, key, event in collector.posted] == [
        ("/api/v1/lineage", "Bearer sesame", "START"),
        ("/api/v1/lineage", "Bearer sesame", "COMPLETE"),
    ]
    assert warnings == []
    assert telling.waiting() == 0


def test_a_service_that_refuses_fails_no_run_and_is_told_later(tmp_path: Path, collector: Collector) -> None:
    warnings: list[str] = []
    telling = tracker(tmp_path, f'[export.openlineage]\nurl = "{collector.url}"\n', warnings)
    collector.status = 403
    telling.started(FULL)
    telling.ended(FULL)
    assert len(warnings) == 1
    assert "will be at a later run" in warnings[0]
    assert telling.waiting() == 2
    collector.status = 201
    assert telling.deliver(again=True) == {}
    assert [event["eventType"] for _path, _key, event in collector.posted[-2:]] == ["START", "COMPLETE"]
    assert telling.waiting() == 0


def test_a_service_that_will_never_take_a_document_is_not_told_again(tmp_path: Path, collector: Collector) -> None:
    warnings: list[str] = []
    telling = tracker(tmp_path, f'[export.openlineage]\nurl = "{collector.url}"\n', warnings)
    collector.status = 422
    telling.started(FULL)
    assert "and that is kept in .repro/outbox" in warnings[0]
    collector.status = 201
    telling.ended(FULL)
    assert [event["eventType"] for _path, _key, event in collector.posted] == ["START", "COMPLETE"]
    assert len(list((tmp_path / ".repro/outbox").glob("*.refused"))) == 1


def test_a_service_that_is_not_there(tmp_path: Path, collector: Collector) -> None:
    warnings: list[str] = []
    collector.server.server_close()
    telling = tracker(tmp_path, f'[export.mlflow]\ntracking-uri = "{collector.url}"\n', warnings)
    telling.ended(FULL)
    assert telling.waiting() == 1
    assert "mlflow was not told" in warnings[0]


def test_a_service_that_accepts_and_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("repro_env.cli.tracking._READ_SECONDS", 0.2)
    warnings: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        telling = tracker(tmp_path, f'[export.openlineage]\nurl = "{url}"\n', warnings)
        began = time.monotonic()
        telling.started(FULL)
        telling.ended(FULL)
    assert time.monotonic() - began < 2, "and it is asked once"
    assert [warning.rpartition(": ")[2] for warning in warnings] == ["127.0.0.1 sent nothing for 0.2 s"]
    assert telling.waiting() == 2


def test_an_interrupted_run_is_kept_to_be_told_and_costs_no_time(tmp_path: Path, collector: Collector) -> None:
    telling = tracker(tmp_path, f'[export.openlineage]\nurl = "{collector.url}"\n', [])
    telling.ended(FULL, deliver=False)
    assert collector.posted == []
    assert telling.waiting() == 1


def test_a_project_without_exports_writes_nothing(tmp_path: Path) -> None:
    telling = tracker(tmp_path, "", [])
    telling.started(FULL)
    telling.ended(FULL)
    assert not (tmp_path / ".repro").exists()


def test_a_file_gets_one_event_a_line(tmp_path: Path) -> None:
    telling = tracker(tmp_path, '[export.openlineage]\nfile = "build/lineage.jsonl"\n', [])
    telling.started(FULL)
    telling.ended(FULL)
    lines = (tmp_path / "build" / "lineage.jsonl").read_text().splitlines()
    assert [json.loads(line)["eventType"] for line in lines] == ["START", "COMPLETE"]
    FileLineage(tmp_path / "build" / "lineage.jsonl").send({"more": "é"})
    assert (tmp_path / "build" / "lineage.jsonl").read_text().splitlines()[2] == '{"more": "é"}'


def test_what_a_server_answers_is_read(collector: Collector) -> None:
    client = HttpClient(environ={}, limits=Limits(attempts=1))
    assert exchange(client, "POST", f"{collector.url}/a", {"b": 1}) == {"kept": True}
    collector.status = 404
    with pytest.raises(NotThereError, match="404") as caught:
        exchange(client, "POST", f"{collector.url}/a", {"b": 1})
    assert caught.value.why == "no such place"


def test_credentials_are_for_their_own_host_alone() -> None:
    bearer = Bearer("https://mine.example:5000/base", token="t")
    assert bearer.header("https://mine.example:5000/api") == "Bearer t"
    assert bearer.header("https://mine.example/api") is None
    assert bearer.header("https://other.example:5000/api") is None
    assert Bearer("https://a.example", user="ann", password="x").header("https://a.example/b") == "Basic YW5uOng="


@pytest.mark.parametrize(
    ("package", "told"),
    [
        ("class MailboxClosedError(Exception): ...\ndef init(**_): raise MailboxClosedError('closed')", "closed"),
        ("import time\ntime.sleep(60)", "did not finish within 0.5 s"),
        ("import sys\nsys.exit(3)", "exit status 3"),
    ],
)
def test_whatever_wandb_does_fails_no_run(
    package: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("repro_env.record.sending.wandb._SECONDS", 0.5 if "sleep" in package else 60.0)
    (tmp_path / "wandb.py").write_text(f"{package}\ndef Settings(**_): ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    warnings: list[str] = []
    telling = tracker(tmp_path / "project", "[export.wandb]\n", warnings)
    telling.ended(FULL)
    assert len(warnings) == 1
    assert "wandb was not told of run" in warnings[0]
    assert told in warnings[0]
    assert telling.waiting() == 1


def test_without_wandb_its_runs_wait(tmp_path: Path) -> None:
    warnings: list[str] = []
    telling = tracker(tmp_path, "[export.wandb]\n", warnings)
    telling.ended(FULL)
    assert "the package wandb is not installed" in warnings[0]
    assert telling.waiting() == 1
