"""The store: blobs by digest, what was worked out once, names; and several processes in it at once."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from repro_env.errors import IntegrityError, StoreError
from repro_env.image.store import Store, canonical_json
from repro_env.values import Digest

_SPAWN = multiprocessing.get_context("spawn")
MANIFEST = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 2}


def descriptor(text: str) -> dict[str, Any]:
    return {**MANIFEST, "digest": str(Digest.of(text.encode()))}


def is_valid(store: Store) -> bool:
    """Whether every blob is what its name says, and the layout's own files are whole."""
    assert json.loads((store.root / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    assert json.loads((store.root / "index.json").read_bytes())["schemaVersion"] == 2
    return all(Digest.of(blob.read_bytes()).hex == blob.name for blob in store.blobs.iterdir())


def test_json_is_canonical() -> None:
    assert canonical_json({"b": [1, "ä"], "a": None}) == '{"a":null,"b":[1,"ä"]}'.encode()


def test_a_new_store_is_an_image_layout(store: Store) -> None:
    assert is_valid(store)
    assert store.references() == {}


def test_what_was_added_is_there(store: Store) -> None:
    digest = store.add(b"content")
    assert digest == Digest.of(b"content")
    assert store.has(digest)
    assert store.has(digest, 7)
    assert not store.has(digest, 8)
    assert not store.has(Digest.of(b"other"))
    assert store.read(digest) == b"content"
    assert store.blob(digest).stat().st_mode & 0o777 == 0o644
    assert list(store.temporary.iterdir()) == []


def test_a_damaged_blob_is_removed_when_it_is_read(store: Store) -> None:
    digest = store.add(b"content")
    store.blob(digest).write_bytes(b"c0ntent")
    with pytest.raises(IntegrityError, match="is damaged") as caught:
        store.read(digest)
    assert "was removed: run again" in caught.value.hint
    assert not store.has(digest)
    assert store.add(b"content") == digest


def test_a_damaged_document_is_replaced_when_it_is_made_again(store: Store) -> None:
    digest = store.add(b"content")
    store.blob(digest).write_bytes(b"c0ntent")
    store.add(b"content")
    assert store.read(digest) == b"content"


def test_a_sound_blob_stays_whatever_its_reader_says_of_it(store: Store) -> None:
    digest = store.add(b"content")
    with pytest.raises(IntegrityError, match="no wheel"), store.reading(digest, "x.whl"):
        raise IntegrityError("it is no wheel")
    with pytest.raises(IntegrityError, match="no wheel"), store.reading(Digest.of(b"absent"), "x.whl"):
        raise IntegrityError("it is no wheel")
    assert store.read(digest) == b"content"


def test_opening_again_changes_nothing(store: Store) -> None:
    store.name("a", descriptor("1"))
    again = Store(store.root)
    assert again.references() == {"a": Digest.of(b"1")}


def test_what_is_not_kept_is_dropped(store: Store) -> None:
    with store.writing() as (stream, _keep):
        stream.write(b"content")
    assert list(store.temporary.iterdir()) == []
    assert list(store.blobs.iterdir()) == []


def test_what_fails_while_writing_leaves_nothing(store: Store) -> None:
    with pytest.raises(KeyboardInterrupt), store.writing() as (_stream, _keep):
        raise KeyboardInterrupt
    assert list(store.temporary.iterdir()) == []


def test_a_blob_cut_short_is_written_again(store: Store) -> None:
    digest = store.add(b"content")
    store.blob(digest).write_bytes(b"con")
    assert store.add(b"content") == digest
    assert store.read(digest) == b"content"


def test_a_damaged_blob_is_said_to_be(store: Store) -> None:
    digest = store.add(b"content")
    store.blob(digest).write_bytes(b"CONTENT")
    with pytest.raises(IntegrityError, match="is damaged") as caught:
        store.read(digest)
    assert str(store.blob(digest)) in caught.value.why
    assert caught.value.hint


def test_an_absent_blob_is_said_to_be(store: Store) -> None:
    with pytest.raises(StoreError, match="the store has no sha256:"):
        store.read(Digest.of(b"absent"))


@pytest.mark.parametrize("root", ["file/store", "file"])
def test_a_store_that_cannot_be_made_is_an_error_of_ours(tmp_path: Path, root: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="cannot use the store"):
        Store(tmp_path / root)


def test_a_full_disk_is_an_error_of_ours(store: Store) -> None:
    with pytest.raises(StoreError, match="cannot write to the store") as caught, store.writing() as (_stream, _keep):
        raise OSError(28, "No space left on device")
    assert "free some space" in caught.value.hint
    assert list(store.temporary.iterdir()) == []


# What was worked out once


def test_what_is_remembered_is_recalled(store: Store) -> None:
    store.remember("kind", "key", {"a": 1})
    assert store.recall("kind", "key") == {"a": 1}
    assert store.recall("kind", "other") is None
    assert store.recall("other", "key") is None


def test_a_document_that_was_changed_is_not_recalled(store: Store) -> None:
    store.remember("kind", "key", {"digest": "abc"})
    path = store.root / "derived/kind/key.json"
    assert json.loads(path.read_bytes())["document"] == {"digest": "abc"}
    path.write_bytes(path.read_bytes().replace(b"abc", b"abd"))
    assert store.recall("kind", "key") is None


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b'{"a":1'])
def test_what_is_damaged_is_not_recalled(store: Store, text: bytes) -> None:
    store.remember("kind", "key", {"a": 1})
    (store.root / "derived/kind/key.json").write_bytes(text)
    assert store.recall("kind", "key") is None


def test_what_cannot_be_read_is_an_error_of_ours(store: Store) -> None:
    (store.root / "derived/kind/key.json").mkdir(parents=True)
    with pytest.raises(StoreError, match="cannot read the store"):
        store.recall("kind", "key")


# Names


def test_a_name_moves(store: Store) -> None:
    store.name("b", descriptor("1"))
    store.name("a", descriptor("2"))
    store.name("b", descriptor("3"))
    assert store.references() == {"a": Digest.of(b"2"), "b": Digest.of(b"3")}
    index = json.loads((store.root / "index.json").read_bytes())
    assert [entry["annotations"]["org.opencontainers.image.ref.name"] for entry in index["manifests"]] == ["a", "b"]


def test_manifests_that_another_program_put_there_stay(store: Store) -> None:
    foreign = [
        descriptor("x"),
        {**descriptor("y"), "annotations": None},
        {**descriptor("z"), "annotations": {"a": "b"}},
    ]
    (store.root / "index.json").write_bytes(canonical_json({"schemaVersion": 2, "manifests": foreign}))
    assert store.references() == {}
    store.name("a", descriptor("1"))
    index = json.loads((store.root / "index.json").read_bytes())
    assert all(entry in index["manifests"] for entry in foreign)
    assert store.references() == {"a": Digest.of(b"1")}


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"{}", b'{"manifests":[1]}', b'{"manifests":[{}]}', b"\xff"])
def test_a_damaged_index_is_said_to_be(store: Store, text: bytes) -> None:
    (store.root / "index.json").write_bytes(text)
    for attempt in (store.references, lambda: store.name("a", descriptor("1"))):
        with pytest.raises(IntegrityError, match=r"index\.json is damaged") as caught:
            attempt()
        assert "remove that file" in caught.value.hint
    (store.root / "index.json").unlink()
    assert Store(store.root).references() == {}


# Several at once


def name_many(root: Path, worker: int) -> None:
    store = Store(root)
    for number in range(12):
        store.name(f"{worker}/{number}", descriptor(f"{worker}/{number}"))


def add_many(root: Path, worker: int) -> None:
    store = Store(root)
    for number in range(40):
        store.add(b"%d" % number * 10_000)
        store.remember("kind", str(number % 5), {"worker": worker, "number": number})
        store.recall("kind", str(number % 5))


@pytest.mark.parametrize("work", [name_many, add_many])
def test_processes_share_a_store(tmp_path: Path, work: Any) -> None:
    """They open it at once too: the first `index.json` must not be made over another's name."""
    root = tmp_path / "store"
    processes = [_SPAWN.Process(target=work, args=(root, worker)) for worker in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
    store = Store(root)
    assert is_valid(store)
    assert list(store.temporary.iterdir()) == []
    if work is name_many:
        expected = {f"{worker}/{number}" for worker in range(4) for number in range(12)}
        assert store.references().keys() == expected
    else:
        assert len(list(store.blobs.iterdir())) == 40
        assert all(store.recall("kind", str(number)) for number in range(5))


_WRITER = """
import sys
from pathlib import Path
from repro_env.image.store import Store
from repro_env.values import Digest
store = Store(Path(sys.argv[1]))
print("ready", flush=True)
number = 0
while True:
    number += 1
    store.add(b"%d" % number * 20_000)
    store.remember("kind", str(number % 3), {"number": number})
    store.name(f"a/{number % 3}", {"mediaType": "m", "size": 1, "digest": str(Digest.of(b"%d" % number))})
"""


def test_a_kill_at_any_moment_leaves_a_valid_store(tmp_path: Path) -> None:
    root = tmp_path / "store"
    for delay in (0.0, 0.003, 0.011, 0.02, 0.035, 0.05):
        with subprocess.Popen([sys.executable, "-c", _WRITER, root], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(delay)
            writer.send_signal(signal.SIGKILL)
        store = Store(root)
        assert is_valid(store)
        store.references()
        store.name("after", descriptor("after"))  # its lock died with it
        for document in (root / "derived").rglob("*.json"):
            json.loads(document.read_bytes())


def test_sweeping_removes_what_is_old_and_only_that(store: Store) -> None:
    old, fresh, tree = (store.temporary / name for name in ("old", "new", "tree"))
    old.write_bytes(b"")
    fresh.write_bytes(b"")
    (tree / "a").mkdir(parents=True)
    (tree / "a/b").write_bytes(b"")
    day_and_more = time.time() - 25 * 3600
    for path in (old, tree):
        os.utime(path, (day_and_more, day_and_more))
    digest = store.add(b"blob")
    os.utime(store.blob(digest), (day_and_more, day_and_more))
    recent, forgotten = (store.partial / name for name in ("a.part", "b.part"))
    for path, days in ((recent, 13), (forgotten, 15)):
        path.write_bytes(b"")
        os.utime(path, (time.time() - days * 86400,) * 2)
    store.sweep()
    assert list(store.temporary.iterdir()) == [fresh]
    assert list(store.partial.iterdir()) == [recent]
    assert store.has(digest)
