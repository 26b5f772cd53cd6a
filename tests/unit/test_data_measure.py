from __future__ import annotations

import hashlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from datatree import make_data, of, settle

from repro_env.data import hashing, manifest
from repro_env.data.cache import StatCache
from repro_env.data.measure import measure
from repro_env.data.select import Selection
from repro_env.edges.report import Silent
from repro_env.errors import ReproError, StoreError, VerificationError
from repro_env.values import Digest

AGO = 1_600_000_000


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_data(tmp_path / "raw")


def test_a_file_is_its_content(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(b"x" * 3_000_000)
    found = of(path)
    assert (found.kind, found.files, found.size) == ("file", 1, 3_000_000)
    assert found.digest.hex == hashlib.sha256(b"x" * 3_000_000).hexdigest()
    assert found.manifest() == b""


def test_a_directory_is_its_manifest(data: Path) -> None:
    found = of(data)

    def line(kind: str, text: str, path: str) -> str:
        return f"{kind}\t{len(text)}\t{hashlib.sha256(text.encode()).hexdigest()}\t{path}\n"

    expected = (
        "repro data manifest 1\n"
        + line("file", "two", "a-b")
        + line("file", "one", "a.txt")
        + "link\t0\t-\tlatest\tsub/run.sh\n"
        + line("executable", "three", "sub/run.sh")
    )
    assert found.manifest().decode() == expected
    assert found.digest == Digest.of(expected.encode())
    assert (found.kind, found.files, found.size) == ("directory", 4, 11)


def test_the_digest_is_the_content_s_alone(data: Path, tmp_path: Path) -> None:
    before = of(data).digest
    other = tmp_path / "elsewhere"
    (other / "sub").mkdir(parents=True, mode=0o700)
    (other / "sub" / "run.sh").write_text("three")
    (other / "sub" / "run.sh").chmod(0o700)
    (other / "latest").symlink_to("sub/run.sh")
    (other / "a-b").write_text("two")
    (other / "a.txt").write_text("one")
    (other / "a.txt").chmod(0o600)
    (other / "empty").mkdir()
    os.utime(other / "a.txt", (AGO, AGO))
    assert of(other).digest == before


def test_an_empty_directory_and_an_empty_file_can_be_pinned(tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    for _ in range(2):
        found = of(tmp_path / "nothing", StatCache(tmp_path / "cache"))
        assert (found.digest, found.files) == (Digest.of(manifest.FIRST_LINE), 0)
    (tmp_path / "blank").touch()
    assert of(tmp_path / "blank").digest == Digest.of(b"")


def test_names_are_sorted_by_their_bytes_and_may_be_anything(tmp_path: Path) -> None:
    root = os.fsencode(tmp_path / "odd")
    for name in (b"a", b"a.b", b"a-", b"tab\there", b"latin-\xe9", "é".encode(), b"line\nfeed", b"d/x", b"d-x"):
        place = os.path.join(root, name)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with open(place, "wb") as stream:
            stream.write(name)
    text = of(tmp_path / "odd").manifest()
    paths = [manifest.unescape(line.split(b"\t")[3]) for line in text.splitlines()[1:]]
    assert paths == sorted(paths)
    assert set(paths) >= {b"latin-\xe9", b"line\nfeed", b"tab\there"}
    assert len(manifest.parse(text)) == len(paths) == 9


def test_data_may_be_reached_through_a_link(data: Path, tmp_path: Path) -> None:
    (tmp_path / "there").symlink_to(data)
    assert of(tmp_path / "there").digest == of(data).digest
    (tmp_path / "one").symlink_to(data / "a.txt")
    assert of(tmp_path / "one").digest == Digest.of(b"one")


# What is refused


def refused(path: Path) -> ReproError:
    with pytest.raises(ReproError) as caught:
        of(path)
    return caught.value


def test_data_that_is_absent_is_named(tmp_path: Path) -> None:
    assert str(refused(tmp_path / "nowhere")).splitlines()[0] == f"{tmp_path}/nowhere does not exist"
    (tmp_path / "file").touch()
    assert "does not exist" in refused(tmp_path / "file" / "below").what


@pytest.mark.parametrize("target", ["/etc/passwd", "../../outside", "..", "sub/../../out"])
def test_a_link_that_leaves_the_directory_is_refused_by_name(data: Path, target: str) -> None:
    (data / "sub" / "out").symlink_to("../" + target if not target.startswith("/") else target)
    error = refused(data)
    assert isinstance(error, VerificationError)
    assert error.why.startswith("sub/out -> ")


@pytest.mark.parametrize("target", ["sub/up/../outside", "by/..", "sub/../by/sub/up/../x"])
def test_a_link_that_leaves_the_directory_through_another_is_refused(data: Path, target: str) -> None:
    (data / "sub" / "up").symlink_to("..")
    (data / "by").symlink_to("sub/up")
    (data / "out").symlink_to(target)
    assert os.path.realpath(data / "out").startswith(str(data) + "/") is False
    assert refused(data).why.splitlines() == [f"out -> {target}"]


def test_links_in_a_loop_and_links_to_nothing_are_data_like_others(data: Path) -> None:
    (data / "loop").symlink_to("loop")
    (data / "sub" / "up").symlink_to("..")
    (data / "dangling").symlink_to("never/made")
    assert b"link\t0\t-\tdangling\tnever/made\n" in of(data).manifest()


def test_what_is_no_file_is_refused_by_name_and_kind(data: Path) -> None:
    os.mkfifo(data / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(data / "sub" / "socket"))
        error = refused(data)
    assert error.why.splitlines() == ["pipe: a named pipe", "sub/socket: a socket"]
    assert "neither a file nor a directory" in refused(data / "pipe").what


def test_many_refusals_are_counted(data: Path) -> None:
    for number in range(25):
        (data / f"out{number:02}").symlink_to("/")
    lines = refused(data).why.splitlines()
    assert len(lines) == 11
    assert lines[-1] == "and 15 more"


def test_a_file_that_cannot_be_read_is_named(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def closed(path: bytes, *rest: int) -> int:
        if path.endswith(b"a.txt"):
            raise PermissionError(13, "Permission denied", os.fsdecode(path))
        return real(path, *rest)

    monkeypatch.setattr(os, "open", closed)
    error = refused(data)
    assert isinstance(error, StoreError)
    assert error.why == f"{data}/a.txt: Permission denied"
    assert error.hint


# What moves meanwhile


@pytest.fixture
def between(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[[], object]], None]]:
    """Let something happen between the scan and the reading of the first file."""
    real = hashing.hash_files

    def install(event: Callable[[], object]) -> None:
        def late(*arguments: object, **options: object) -> object:
            event()
            return real(*arguments, **options)  # type: ignore[arg-type]

        monkeypatch.setattr("repro_env.data.measure.hash_files", late)

    return install  # type: ignore[return-value]


@pytest.mark.parametrize(
    "event",
    [
        lambda root: (root / "a.txt").write_text("four, and longer"),
        lambda root: (root / "a.txt").write_text("ONE"),
        lambda root: (root / "a.txt").unlink(),
        lambda root: (root / "a.txt").unlink() or (root / "a.txt").symlink_to("/etc/passwd"),
        lambda root: (root / "sub" / "late").touch(),
        lambda root: (root / "sub" / "run.sh").rename(root / "sub" / "ran.sh"),
    ],
    ids=["grown", "rewritten", "removed", "led elsewhere", "added", "renamed"],
)
def test_a_directory_that_changes_while_it_is_read_is_reported(
    data: Path, between: Callable[[Callable[[], object]], None], event: Callable[[Path], object]
) -> None:
    settle()
    between(lambda: event(data))
    error = refused(data)
    assert isinstance(error, VerificationError)
    assert "changed while it was read" in error.what


def swap_for_a_pipe(place: Path) -> None:
    place.unlink()
    os.mkfifo(place)


def test_what_does_not_count_may_change_meanwhile(data: Path, between: Callable[[Callable[[], object]], None]) -> None:
    between(lambda: (data / "today.log").write_text("x"))
    selection = Selection(exclude=("*.log",))
    found = measure(data, reporter=Silent(), selection=selection)
    assert found.files == 4
    between(lambda: (data / "more.txt").write_text("x"))
    with pytest.raises(VerificationError, match="changed while it was read"):
        measure(data, reporter=Silent(), selection=selection)


def test_a_single_file_swapped_for_a_pipe_does_not_hang(
    data: Path, between: Callable[[Callable[[], object]], None]
) -> None:
    between(lambda: swap_for_a_pipe(data / "a.txt"))
    assert "changed while it was read" in refused(data / "a.txt").what


def test_a_file_swapped_for_a_pipe_does_not_hang(data: Path, between: Callable[[Callable[[], object]], None]) -> None:
    between(lambda: swap_for_a_pipe(data / "a.txt"))
    assert "changed while it was read" in refused(data).what


def test_large_and_slow_files_are_read_by_several_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "big"
    root.mkdir()
    for number in range(12):
        (root / f"{number:02}").write_bytes(bytes([number]) * (300_000 if number % 2 else 10))
    threads = set()
    real = hashing.hash_file

    def spy(*arguments: object) -> bytes:
        threads.add(threading.current_thread().name)
        time.sleep(0.002)
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(hashing, "hash_file", spy)
    monkeypatch.setattr(hashing, "_BATCH", 2)
    parallel = measure(root, reporter=Silent(), workers=3)
    assert len(threads) > 1
    monkeypatch.undo()
    assert measure(root, reporter=Silent(), workers=1).digest == parallel.digest


@pytest.fixture
def many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory of small files, which are read by other processes, few at a time."""
    root = tmp_path / "many"
    for name in (b"a", b"b/latin-\xe9", b"b/line\nfeed", b"c/empty", *(b"d/%d" % number for number in range(40))):
        place = os.path.join(os.fsencode(root), name)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with open(place, "wb") as stream:
            stream.write(b"" if name.endswith(b"empty") else name)
    (root / "link").symlink_to("a")
    monkeypatch.setattr(hashing, "_ALONE", 0)
    monkeypatch.setattr(hashing, "_BATCH", 3)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: {0, 1})
    return root


def test_many_small_files_are_read_by_other_processes(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here: list[bytes] = []
    real = hashing.hash_file

    def spy(root: bytes, name: bytes, *rest: object) -> bytes:
        here.append(name)
        return real(root, name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(hashing, "hash_file", spy)
    found = of(many)
    assert here == []
    monkeypatch.setattr(hashing, "_ALONE", 1000)
    assert of(many).digest == found.digest
    assert len(here) == found.files - 1 == 44


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (lambda place: place.write_text("other"), "changed while it was read"),
        (lambda place: place.unlink(), "changed while it was read"),
        (swap_for_a_pipe, "changed while it was read"),
        (lambda place: place.unlink() or place.symlink_to("/etc/passwd"), "changed while it was read"),
    ],
    ids=["changed", "gone", "pipe", "link"],
)
def test_what_another_process_cannot_read_is_told_like_elsewhere(
    many: Path, between: Callable[[Callable[[], object]], None], event: Callable[[Path], object], words: str
) -> None:
    settle()
    between(lambda: event(many / "d" / "7"))
    error = refused(many)
    assert words in error.what
    assert error.what.startswith(f"{many}/d/7 ")


@pytest.mark.parametrize(
    "program",
    [
        "import sys; sys.exit(1)",
        "import sys; sys.stdin.buffer.read(9)",
        "import sys; sys.stdin.buffer.read(9); sys.stdout.buffer.write(bytes(range(1, 51)))",
        "no program",
    ],
)
def test_processes_that_end_or_do_not_start_are_done_without(
    many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    expected = of(many).digest
    (tmp_path / "broken.py").write_text(program)
    monkeypatch.setattr("repro_env.data.reader.__file__", str(tmp_path / "broken.py"))
    assert of(many).digest == expected
    monkeypatch.setattr("sys.executable", str(tmp_path / "nowhere"))
    assert of(many).digest == expected


def test_an_error_in_a_thread_stops_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "big"
    root.mkdir()
    for number in range(40):
        (root / f"{number:02}").write_bytes(bytes(200_000))
    count = []

    def fail(_root: bytes, name: bytes, *_rest: object) -> bytes:
        count.append(name)
        raise StoreError("no")

    monkeypatch.setattr(hashing, "hash_file", fail)
    with pytest.raises(StoreError):
        measure(root, reporter=Silent(), workers=1)
    assert len(count) < 40


def test_progress_counts_every_byte_once(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (data / "large").write_bytes(bytes(3_000_000))
    seen: list[int] = []

    class Counting(Silent):
        def advance(self, amount: int) -> None:
            seen.append(amount)

    measure(data, reporter=Counting())
    assert seen == []
    monkeypatch.setattr("repro_env.data.measure._WORTH_SHOWING", 1_000_000)
    found = measure(data, reporter=Counting())
    assert sum(seen) == found.size == 3_000_011
