"""Layout version 1, to the byte: the same wheel must give the same blob in every later version of this program.

Who changes a digest here has made another layout: it gets a version of its own (`lock.model.LAYOUT`), and the older one
can still be made. Until the first release there is no older one: then `MANNER` is raised, so that no store gives what
an older program made.
"""

from __future__ import annotations

import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

from layers import layer_of
from wheelmaker import WheelRecipe, make_wheel

from repro_env.build.code import CodeFile, code_layer
from repro_env.build.interpreter import interpreter_layer
from repro_env.image import deflate, tar
from repro_env.image.layer import Layer, LayerWriter
from repro_env.image.layer_memory import MANNER
from repro_env.image.store import Store
from repro_env.values import PythonVersion

CHANCE = random.Random(1980)
TEXT = b"def answer():\n    return 42\n\n\n"
DATA = CHANCE.randbytes(70_000)

SMALL = WheelRecipe(name="small", files={"small/__init__.py": TEXT})
EVERYTHING = WheelRecipe(
    name="Every-Thing",
    version="2.0",
    files={
        "every/__init__.py": b"",
        "every/text.py": TEXT * 3000,
        "every/data.bin": DATA,
        "every/large.bin": DATA * 40,
        "every/stored.bin": DATA * 40,
        "every/größe/名前.txt": b"1",
        "every/" + "deep/" * 30 + "x" * 60: b"2",
        "every/" + "y" * 130: b"3",
        "every/tool": b"\x7fELF",
        "every/__pycache__/text.cpython-311.pyc": b"left out",
        "Every_Thing-2.0.data/scripts/run": b"#!python -E\nprint(1)\n",
        "Every_Thing-2.0.data/scripts/shell": b"#!/bin/sh\necho\n",
        "Every_Thing-2.0.data/headers/every.h": b"4",
        "Every_Thing-2.0.data/data/share/every/d": b"5",
    },
    extra_info={"entry_points.txt": b"[console_scripts]\nevery = every.cli:main.run [extra]\n[gui_scripts]\nw = e:g\n"},
    executable=frozenset({"every/tool"}),
    stored=frozenset({"every/stored.bin", "every/tool"}),
)


def without_a_compressor(wheel: Path) -> Path:
    """Write a wheel anew with streams that depend on no version of zlib: our own, which are checked elsewhere."""
    with zipfile.ZipFile(wheel) as archive:
        members = [(member, archive.read(member)) for member in archive.infolist()]
    body, directory = bytearray(), bytearray()
    for member, content in members:
        stream = deflate.packed(content)[len(deflate.HEADER) : -8] if member.compress_type else content
        name = member.filename.encode()
        sizes = struct.pack("<LLLHH", member.CRC, len(stream), len(content), len(name), 0)
        common = struct.pack("<HHHHH", 20, 0x800, member.compress_type, 0, 0x21) + sizes
        directory += (
            b"PK\x01\x02\x14\x03" + common + struct.pack("<HHHLL", 0, 0, 0, member.external_attr, len(body)) + name
        )
        body += b"PK\x03\x04" + common + name + stream
    ends = struct.pack("<HHHHLLH", 0, 0, len(members), len(members), len(directory), len(body), 0)
    wheel.write_bytes(bytes(body + directory) + b"PK\x05\x06" + ends)
    return wheel


def write_by_hand(store: Store) -> Layer:
    """Write what no wheel makes: links, owners, modes, compressed streams in pieces, empty files in a row."""
    with store.writing() as (stream, keep):
        writer = LayerWriter(stream)
        writer.add(tar.Entry(path="d", kind="directory", mode=0o1777, owner=65534, group=100))
        for number in range(300):
            writer.add(tar.Entry(path=f"d/{number:03}", kind="symlink", mode=0o777, link="../" * (number % 40) + "x"))
        writer.add(tar.Entry(path="e", size=5, mode=0o4755, owner=3_000_000), b"hello")
        writer.add(tar.Entry(path="f", kind="hardlink", link="e"))
        writer.add_chunks(tar.Entry(path="g", size=2_800_000), [DATA] * 40)
        writer.add_chunks(tar.Entry(path="h", size=0), [])
        layer = writer.finish("by hand")
        keep(layer.digest)
    return layer


def code(store: Store, directory: Path) -> Layer:
    files = {"train.py": TEXT, "pkg/größe.py": b"", "data/large.bin": DATA * 40}
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    placed = [CodeFile(name, directory / name, executable=name == "train.py") for name in files]
    placed.append(CodeFile("latest", directory / "latest", link="train.py"))
    return code_layer(placed, b'{"version":1}', store)


def test_layers_are_the_same_bytes_as_ever(store: Store, tmp_path: Path, golden: Callable[[str, str], None]) -> None:
    wheels = [without_a_compressor(make_wheel(tmp_path, recipe)) for recipe in (SMALL, EVERYTHING)]
    layers = {
        "small": layer_of(store, wheels[0]).layer,
        "everything": layer_of(store, wheels[1]).layer,
        "everything for 3.13": layer_of(store, wheels[1], python=PythonVersion(13)).layer,
        "bundle": layer_of(store, *wheels).layer,
        "by hand": write_by_hand(store),
        "interpreter": interpreter_layer(PythonVersion(11), "3.11.2", store, program="/usr/bin/python3.11"),
        "code": code(store, tmp_path / "code"),
    }
    lines = (f"{name}: {layer.digest} {layer.diff_id} {layer.size} {layer.unpacked}" for name, layer in layers.items())
    golden("layers-1.txt", f"manner: {MANNER}\n" + "".join(f"{line}\n" for line in lines))
