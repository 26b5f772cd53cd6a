"""Batches: every byte in order, errors on the way back, no thread for what is small."""

from __future__ import annotations

import hashlib
import io
import random
import threading
import time
from pathlib import Path

import pytest

from repro_env.errors import StoreError
from repro_env.image import tar
from repro_env.image.batches import Batches
from repro_env.image.layer import LayerWriter
from repro_env.image.store import Store


def test_every_consumer_gets_every_byte_in_order() -> None:
    chance = random.Random(5)
    pieces = [chance.randbytes(chance.choice([0, 1, 500, 65535, 65536, 300_000, 1 << 20])) for _ in range(200)]
    digest, stream = hashlib.sha256(), io.BytesIO()
    batches = Batches(digest.update, stream.write)
    for piece in pieces:
        batches.add(piece)
    batches.finish()
    assert stream.getvalue() == b"".join(pieces)
    assert digest.digest() == hashlib.sha256(b"".join(pieces)).digest()


def test_nothing_is_nothing() -> None:
    digest = hashlib.sha256()
    Batches(digest.update).finish()
    assert digest.digest() == hashlib.sha256().digest()


def test_what_is_small_starts_no_thread() -> None:
    found: list[tuple[str, int]] = []
    batches = Batches(lambda data: found.append((threading.current_thread().name, len(data))))
    for _ in range(100):
        batches.add(bytes(1000))
    batches.finish()
    assert found == [(threading.current_thread().name, 100_000)]


def test_a_consumers_error_comes_back() -> None:
    def fail(_data: bytes) -> None:
        raise OSError(28, "No space left on device")

    batches = Batches(fail)
    with pytest.raises(OSError, match="No space left"):  # noqa: PT012 - which of the two raises is left to chance
        for _ in range(20):
            batches.add(bytes(1 << 20))
        batches.finish()


def test_a_slow_consumer_holds_up_what_is_made() -> None:
    taken = 0
    release = threading.Event()

    def slow(_data: bytes) -> None:
        release.wait(10)

    batches = Batches(slow)

    def produce() -> None:
        nonlocal taken
        for _ in range(50):
            batches.add(bytes(1 << 20))
            taken += 1

    producer = threading.Thread(target=produce)
    producer.start()
    time.sleep(0.2)
    assert taken < 10
    release.set()
    producer.join(10)
    batches.finish()
    assert taken == 50


def test_a_full_disk_while_a_layer_is_written_is_an_error_of_ours(store: Store, tmp_path: Path) -> None:
    def write() -> None:
        with store.writing(), Path("/dev/full").open("wb", buffering=0) as full:
            writer = LayerWriter(full)
            writer.add_chunks(tar.Entry(path="a", size=50 << 20), [bytes(1 << 20)] * 50)
            writer.finish()

    with pytest.raises(StoreError, match="cannot write to the store") as caught:
        write()
    assert "free some space" in caught.value.hint
    assert list(store.temporary.iterdir()) == []
