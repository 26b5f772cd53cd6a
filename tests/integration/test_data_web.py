"""Data at a web address: pinned, pulled, resumed, refused; with a server that fails on purpose."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from loopback import Fault, Server, serve
from pulling import Machine

from repro_env.edges.http import NotFoundError
from repro_env.errors import FetchError, IntegrityError, VerificationError
from repro_env.values import Digest

RAW = os.urandom(3_000_000)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "raw.csv").write_bytes(RAW)
    with serve(tmp_path / "web") as running:
        yield running


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(root=tmp_path / "here")


def etag(server: Server, value: str = '"one"', times: int = 99) -> None:
    server.fault("/raw.csv", Fault(headers={"ETag": value}, times=times))


def test_a_file_is_pinned_by_its_content_and_is_in_the_store_then(server: Server, machine: Machine) -> None:
    locked = machine.lock(uri=f"{server.url}/raw.csv")
    assert (locked.pin, locked.digest, locked.size, locked.files) == ("sha256", Digest.of(RAW), len(RAW), 1)
    assert locked.path == ".repro/data/raw/raw.csv"
    asked = len(server.log)
    machine.pull(locked)
    assert len(server.log) == asked, "nothing is downloaded twice"
    assert machine.place(locked).read_bytes() == RAW
    assert stat.S_IMODE(machine.place(locked).stat().st_mode) == 0o444
    assert machine.measure(locked).digest == locked.digest


def test_another_machine_pulls_by_the_lock_alone(server: Server, machine: Machine) -> None:
    locked = machine.lock(uri=f"{server.url}/raw.csv")
    there = machine.elsewhere()
    assert there.have(locked) == locked
    assert there.place(locked).read_bytes() == RAW


def test_a_declared_path_is_where_it_is_put_and_peoples_files_stay(server: Server, machine: Machine) -> None:
    locked = machine.lock(uri=f"{server.url}/raw.csv", path="data/in.csv")
    own = machine.project / "data" / "in.csv"
    own.parent.mkdir()
    own.write_text("mine")
    with pytest.raises(VerificationError, match="was not put in place"):
        machine.pull(locked)
    assert own.read_text() == "mine"
    assert machine.pull(locked, force=True).placed
    assert own.read_bytes() == RAW
    assert not machine.pull(locked).placed


def test_an_earlier_pin_stays_until_its_source_is_asked_anew(server: Server, machine: Machine) -> None:
    locked = machine.lock(uri=f"{server.url}/raw.csv")
    (server.root / "raw.csv").write_text("new")
    assert machine.lock(locked, keep=True, uri=f"{server.url}/raw.csv") == locked
    assert machine.lock(locked, uri=f"{server.url}/raw.csv").digest == Digest.of(b"new")


def test_a_transfer_that_breaks_off_goes_on_where_it_stopped(server: Server, machine: Machine) -> None:
    locked = machine.lock(uri=f"{server.url}/raw.csv")
    there = machine.elsewhere()
    server.log.clear()
    server.fault("/raw.csv", Fault(cut=1_000_000, times=2))  # of HEAD nothing is cut
    there.pull(locked)
    assert there.place(locked).read_bytes() == RAW
    assert ("GET", "/raw.csv", "bytes=1000000-") in server.log


def test_what_came_is_kept_for_the_next_command(server: Server, machine: Machine) -> None:
    locked = machine.lock(uri=f"{server.url}/raw.csv")
    there = machine.elsewhere()
    server.fault("/raw.csv", Fault(cut=0, times=99))
    with pytest.raises(FetchError):
        there.pull(locked)
    server.fault("/raw.csv", Fault(cut=2_000_000, times=2))
    server.log.clear()
    there.pull(locked)
    assert [asked for method, _, asked in server.log if method == "GET"] == [None, "bytes=2000000-"]


def test_a_server_that_cannot_resume_is_read_from_the_start(server: Server, machine: Machine) -> None:
    locked = machine.lock(uri=f"{server.url}/raw.csv")
    there = machine.elsewhere()
    real = server.take
    count = 0

    def take(method: str, path: str, asked_range: str | None) -> Fault:
        nonlocal count
        real(method, path, asked_range)
        count += method == "GET"
        return Fault(cut=500_000 if count == 1 and method == "GET" else None, resume=False)

    server.take = take  # type: ignore[method-assign]
    there.pull(locked)
    assert there.place(locked).read_bytes() == RAW


def test_other_bytes_than_pinned_are_refused_and_nothing_is_placed(server: Server, machine: Machine) -> None:
    locked = machine.lock(uri=f"{server.url}/raw.csv")
    (server.root / "raw.csv").write_bytes(os.urandom(len(RAW)))
    there = machine.elsewhere()
    with pytest.raises(IntegrityError, match="is not what was pinned") as error:
        there.pull(locked)
    assert str(locked.digest) in error.value.why
    assert "repro lock -D raw" in error.value.hint
    assert not there.place(locked).exists()


def test_a_longer_and_a_shorter_file_are_refused(server: Server, machine: Machine) -> None:
    locked = machine.lock(uri=f"{server.url}/raw.csv")
    for content in (RAW + b"x", RAW[:-1], b""):
        (server.root / "raw.csv").write_bytes(content)
        with pytest.raises((IntegrityError, FetchError)):
            machine.elsewhere().pull(locked)
    assert not machine.elsewhere().place(locked).exists()


@pytest.mark.parametrize(("status", "words"), [(404, "404"), (403, "403"), (401, "401"), (410, "410")])
def test_what_the_server_refuses_is_told(server: Server, machine: Machine, status: int, words: str) -> None:
    server.fault("/raw.csv", Fault(status=status, times=99))
    with pytest.raises(FetchError) as error:
        machine.lock(uri=f"{server.url}/raw.csv")
    assert words in error.value.why
    assert isinstance(error.value, NotFoundError) == (status in (404, 410))


def test_offline_is_told(machine: Machine) -> None:
    with pytest.raises(FetchError) as error:
        machine.lock(uri="http://127.0.0.1:9/raw.csv")
    assert "network" in error.value.hint


def test_a_version_pin_downloads_nothing_and_says_so(server: Server, machine: Machine) -> None:
    etag(server)
    locked = machine.lock(uri=f"{server.url}/raw.csv", pin="version")
    assert locked.is_weak
    assert (locked.pin, locked.size, locked.content) == ("etag", len(RAW), None)
    assert {method for method, _, _ in server.log} == {"HEAD"}
    again = machine.elsewhere()
    assert again.lock(uri=f"{server.url}/raw.csv", pin="version") == locked
    by_content = again.have(locked)
    assert (by_content.digest, by_content.pin) == (Digest.of(RAW), "etag")
    assert again.measure(locked).digest == Digest.of(RAW)
    for keep in (False, True):
        known = again.lock(locked, keep=keep, uri=f"{server.url}/raw.csv", pin="version")
        assert known == replace(locked, content=Digest.of(RAW))


def test_a_version_that_moved_is_refused(server: Server, machine: Machine) -> None:
    etag(server)
    locked = machine.lock(uri=f"{server.url}/raw.csv", pin="version")
    etag(server, '"two"')
    with pytest.raises(VerificationError, match="changed at its source") as error:
        machine.pull(locked)
    assert '"one"' in error.value.why
    assert '"two"' in error.value.why


@pytest.mark.parametrize("word", ['W/"one"', '"one"'])
def test_a_weak_etag_does_not_stand_for_the_same_bytes(server: Server, machine: Machine, word: str) -> None:
    etag(server, word)
    before = machine.lock(uri=f"{server.url}/raw.csv")
    (server.root / "raw.csv").write_bytes(RAW[::-1])
    after = machine.lock(before, uri=f"{server.url}/raw.csv")
    assert (after.digest == before.digest) == (not word.startswith("W/"))
    (server.root / "raw.csv").write_bytes(RAW + b"x")
    assert machine.lock(before, uri=f"{server.url}/raw.csv").digest == Digest.of(RAW + b"x"), "another size"


@pytest.mark.parametrize("word", ['W/"one"', '"one"'])
def test_what_a_server_has_only_a_weak_word_for_is_not_put_together(
    server: Server, machine: Machine, word: str
) -> None:
    server.fault("/raw.csv", Fault(headers={"ETag": word}, cut=1_000_000, times=2))
    machine.lock(uri=f"{server.url}/raw.csv")
    asked = [asked for method, _, asked in server.log if method == "GET"]
    assert asked == [None, None if word.startswith("W/") else "bytes=1000000-"]


def test_a_name_that_no_path_can_have_is_replaced(server: Server, machine: Machine) -> None:
    (server.root / "a\nb").write_bytes(b"odd")
    locked = machine.lock(uri=f"{server.url}/a%0Ab")
    assert (locked.path, locked.digest) == (".repro/data/raw/raw", Digest.of(b"odd"))


def test_what_can_be_no_data_is_replaced_like_other_things(server: Server, machine: Machine) -> None:
    locked = machine.lock(uri=f"{server.url}/raw.csv", path="in/raw.csv")
    machine.place(locked).parent.mkdir()
    machine.place(locked).symlink_to("nowhere")
    with pytest.raises(VerificationError, match="was not put in place"):
        machine.pull(locked)
    machine.pull(locked, force=True)
    assert machine.place(locked).read_bytes() == RAW
    assert not machine.place(locked).is_symlink()


def test_what_a_kill_left_beside_data_that_is_right_is_removed(server: Server, machine: Machine) -> None:
    locked = machine.lock(uri=f"{server.url}/raw.csv")
    machine.pull(locked)
    left = machine.place(locked).with_name(".raw.csv.0a1b2c3d.repro")
    left.mkdir()
    assert not machine.pull(locked).placed
    assert not left.exists()


def test_content_seen_once_is_held_against_what_comes_later(server: Server, machine: Machine) -> None:
    etag(server)
    locked = machine.lock(uri=f"{server.url}/raw.csv", pin="version")
    machine.pull(locked)
    known = machine.lock(locked, uri=f"{server.url}/raw.csv", pin="version")
    (server.root / "raw.csv").write_bytes(os.urandom(len(RAW)))  # under the same ETag
    with pytest.raises(IntegrityError, match="is not what was pinned"):
        machine.elsewhere().pull(known)


def test_two_addresses_may_have_one_word_for_different_files(server: Server, machine: Machine) -> None:
    (server.root / "other.csv").write_bytes(RAW[::-1])
    for path in ("/raw.csv", "/other.csv"):
        server.fault(path, Fault(headers={"ETag": '"one"'}, times=99))
    found = [machine.lock(name=name, uri=f"{server.url}/{name}.csv", pin="version") for name in ("raw", "other")]
    assert found[0].digest == found[1].digest
    assert [machine.have(one).digest for one in found] == [Digest.of(RAW), Digest.of(RAW[::-1])]


def test_a_pin_without_a_version_is_refused(server: Server, machine: Machine) -> None:
    with pytest.raises(Exception, match='cannot have pin = "version"'):
        machine.lock(uri=f"{server.url}/raw.csv", pin="version")


def test_damage_in_the_store_is_found_when_placing_and_had_again(server: Server, machine: Machine) -> None:
    locked = machine.lock(uri=f"{server.url}/raw.csv")
    blob = machine.store.blob(locked.digest)
    blob.write_bytes(os.urandom(len(RAW)))
    with pytest.raises(IntegrityError, match="damaged"):
        machine.pull(locked)
    assert not machine.place(locked).exists()
    machine.pull(locked)
    assert machine.place(locked).read_bytes() == RAW


def test_what_was_changed_in_its_place_is_seen_and_pulled_again(server: Server, machine: Machine) -> None:
    locked = machine.lock(uri=f"{server.url}/raw.csv")
    machine.pull(locked)
    place = machine.place(locked)
    place.chmod(0o644)
    place.write_bytes(b"x" * len(RAW))
    assert machine.measure(locked).digest != locked.digest
    machine.pull(locked)
    assert place.read_bytes() == RAW


def test_a_hard_link_is_made_only_if_asked_for(server: Server, machine: Machine) -> None:
    locked = machine.lock(uri=f"{server.url}/raw.csv")
    blob = machine.store.blob(locked.digest)
    machine.pull(locked)
    assert not machine.place(locked).samefile(blob)
    machine.place(locked).unlink()
    linked = Machine(root=machine.root, environ={"REPRO_DATA_LINK": "hardlink"})
    linked.pull(locked)
    assert linked.place(locked).samefile(blob)
    with pytest.raises(Exception, match="REPRO_DATA_LINK"):
        Machine(root=machine.root.with_name("third"), environ={"REPRO_DATA_LINK": "symlink"}).pull(locked)


def test_no_credential_of_netrc_is_written_or_follows_a_redirect(
    server: Server, machine: Machine, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password open-sesame\n")
    with serve(server.root) as other:
        target = f"{other.url}/raw.csv?X-Amz-Signature=abcdef"
        server.fault("/raw.csv", Fault(status=302, headers={"Location": target}, times=99))
        private = Machine(root=machine.root, environ={"NETRC": str(netrc)})
        locked = private.lock(uri=f"{server.url}/raw.csv")
        assert locked.uri == f"{server.url}/raw.csv"
        other.fault("/raw.csv", Fault(status=403, times=99))
        with pytest.raises(FetchError) as error:
            Machine(root=machine.root.with_name("b"), environ={"NETRC": str(netrc)}).pull(locked)
    for secret in ("open-sesame", "abcdef"):
        assert secret not in str(error.value)
        assert secret not in repr(locked)
        assert not [path for path in machine.root.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
