"""The layer writer: digests and sizes of what it wrote, and content that is not what was declared."""

from __future__ import annotations

import gzip
import hashlib
import io
import random
import tarfile
import zlib
from collections.abc import Iterable

import pytest

from repro_env.errors import IntegrityError
from repro_env.image import tar
from repro_env.image.inflate import PIECE, Inflater
from repro_env.image.layer import Deflated, Layer, LayerWriter


def deflated(content: bytes, level: int = 6, piece: int = 1 << 20) -> Deflated:
    compressor = zlib.compressobj(level, zlib.DEFLATED, -15)
    raw = compressor.compress(content) + compressor.flush()
    return Deflated(pieces(raw, piece), zlib.crc32(content), len(content))


def pieces(data: bytes, size: int) -> Iterable[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def write(entries: Iterable[tuple[tar.Entry, bytes | Deflated]]) -> tuple[bytes, Layer]:
    stream = io.BytesIO()
    writer = LayerWriter(stream)
    for entry, content in entries:
        if isinstance(content, Deflated):
            writer.add_deflated(entry, content)
        else:
            writer.add(entry, content)
    layer = writer.finish("test")
    return stream.getvalue(), layer


def test_digests_and_sizes_are_of_what_was_written() -> None:
    text = b"import this\n" * 5000
    blob, layer = write(
        [
            (tar.Entry(path="d", kind="directory", mode=0o755), b""),
            (tar.Entry(path="d/empty"), b""),
            (tar.Entry(path="d/module.py", size=len(text)), deflated(text)),
            (tar.Entry(path="d/other", size=5), b"other"),
        ]
    )
    data = gzip.decompress(blob)
    assert layer == Layer(
        digest=layer.digest, diff_id=layer.diff_id, size=len(blob), unpacked=len(data), comment="test"
    )
    assert (layer.digest.hex, layer.diff_id.hex) == (hashlib.sha256(blob).hexdigest(), hashlib.sha256(data).hexdigest())
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert archive.getnames() == ["d", "d/empty", "d/module.py", "d/other"]
        found = archive.extractfile("d/module.py")
        assert found is not None
        assert found.read() == text
    assert data.endswith(tar.END_OF_ARCHIVE)


def test_a_layer_of_nothing_is_an_empty_archive() -> None:
    blob, layer = write([])
    assert gzip.decompress(blob) == tar.END_OF_ARCHIVE
    assert layer.unpacked == 1024


@pytest.mark.parametrize("size", [0, 1, 512, 70_000, 3 * PIECE, 3 * PIECE + 1])
@pytest.mark.parametrize("level", [0, 1, 6, 9])
@pytest.mark.parametrize("piece", [7, 4096, 1 << 20])
def test_a_stream_may_come_in_pieces_of_any_size(size: int, level: int, piece: int) -> None:
    content = random.Random(size).randbytes(size // 2).ljust(size, b"x")
    entry = tar.Entry(path="a", size=size)
    assert write([(entry, deflated(content, level, piece))])[1] == write([(entry, deflated(content, level))])[1]
    writer = LayerWriter(io.BytesIO())
    assert writer.add_deflated(entry, deflated(content, level, piece)).hex == hashlib.sha256(content).hexdigest()


def test_chunks_make_the_same_blob_however_they_come() -> None:
    content = random.Random(1).randbytes(2_500_000)
    found = set()
    for size in (1000, 65536, 1 << 20, len(content)):
        stream = io.BytesIO()
        writer = LayerWriter(stream)
        digest = writer.add_chunks(tar.Entry(path="a", size=len(content)), pieces(content, size))
        assert digest.hex == hashlib.sha256(content).hexdigest()
        layer = writer.finish()
        found.add((stream.getvalue(), layer))
    assert len(found) == 1


def test_small_chunks_make_the_same_blob_as_bytes_at_hand() -> None:
    for content in (b"", b"a", bytes(range(256)) * 40):
        entry = tar.Entry(path="a", size=len(content))
        stream = io.BytesIO()
        writer = LayerWriter(stream)
        writer.add_chunks(entry, [content])
        layer = writer.finish("test")
        assert (stream.getvalue(), layer) == write([(entry, content)])


@pytest.mark.parametrize("declared", [0, 99, 101, 10**12])
def test_content_of_another_size_is_refused(declared: int) -> None:
    entry = tar.Entry(path="a", size=declared)
    good = deflated(b"x" * 100)
    with pytest.raises(IntegrityError, match="100 bytes"):
        LayerWriter(io.BytesIO()).add(entry, b"x" * 100)
    with pytest.raises(IntegrityError, match="declared"):
        LayerWriter(io.BytesIO()).add_chunks(entry, [b"x" * 50, b"x" * 50])
    with pytest.raises(IntegrityError, match="declared"):
        LayerWriter(io.BytesIO()).add_deflated(entry, Deflated(good.stream, good.crc, declared))
    with pytest.raises(IntegrityError, match=f"is 100 bytes where {declared} were declared"):
        LayerWriter(io.BytesIO()).add_deflated(entry, good)


def test_a_wrong_crc_is_refused() -> None:
    good = deflated(b"x" * 100)
    with pytest.raises(IntegrityError, match="does not inflate to the 100 bytes"):
        LayerWriter(io.BytesIO()).add_deflated(tar.Entry(path="a", size=100), Deflated(good.stream, good.crc ^ 1, 100))


def test_every_truncation_of_a_stream_is_refused() -> None:
    content = random.Random(2).randbytes(300) + b"a" * 300
    raw = b"".join(deflated(content).stream)
    for end in range(len(raw)):
        with pytest.raises(IntegrityError):
            LayerWriter(io.BytesIO()).add_deflated(
                tar.Entry(path="a", size=600), Deflated([raw[:end]], zlib.crc32(content), 600)
            )


def test_bytes_after_the_end_of_a_stream_are_refused() -> None:
    content = b"a" * 600
    raw = b"".join(deflated(content).stream)
    for extra in ([raw + b"\0"], [raw, b"\0"], [raw, b"", raw]):
        with pytest.raises(IntegrityError):
            LayerWriter(io.BytesIO()).add_deflated(
                tar.Entry(path="a", size=600), Deflated(extra, zlib.crc32(content), 600)
            )


def test_every_flipped_byte_of_a_stream_is_refused() -> None:
    content = bytes(range(256)) * 3
    raw = b"".join(deflated(content).stream)
    for place in range(len(raw)):
        bad = raw[:place] + bytes([raw[place] ^ 0x55]) + raw[place + 1 :]
        with pytest.raises(IntegrityError):
            LayerWriter(io.BytesIO()).add_deflated(
                tar.Entry(path="a", size=768), Deflated([bad], zlib.crc32(content), 768)
            )


def test_a_bomb_is_inflated_no_further_than_it_declares() -> None:
    bomb = deflated(bytes(200 << 20))
    inflater = Inflater(1000, "bomb")
    given = sum(len(piece) for compressed in bomb.stream for piece in inflater.feed(compressed))
    assert given <= 1001
    assert not inflater.finished
    with pytest.raises(IntegrityError):
        LayerWriter(io.BytesIO()).add_deflated(tar.Entry(path="a", size=1000), Deflated(bomb.stream, bomb.crc, 1000))


def test_no_piece_is_larger_than_promised() -> None:
    inflater = Inflater(5 << 20, "zeros")
    sizes = [len(piece) for compressed in deflated(bytes(5 << 20)).stream for piece in inflater.feed(compressed)]
    assert sum(sizes) == 5 << 20
    assert max(sizes) <= PIECE
    assert inflater.finished


def test_an_endless_stream_of_chunks_is_cut_off() -> None:
    def endless() -> Iterable[bytes]:
        while True:
            yield bytes(1 << 20)

    with pytest.raises(IntegrityError):
        LayerWriter(io.BytesIO()).add_chunks(tar.Entry(path="a", size=100), endless())
