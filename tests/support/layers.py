"""Layers and wheels for tests: what a layer holds, read by other people's programs, and wheels kept in a store."""

from __future__ import annotations

import base64
import csv
import gzip
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from repro_env.image.layer import Layer
from repro_env.image.store import Store
from repro_env.image.wheel_layer import WheelLayer, wheel_layer
from repro_env.lock.model import Wheel
from repro_env.values import PythonVersion, normalise_name

PYTHON = PythonVersion(11)
SITE = f"opt/env/lib/python{PYTHON}/site-packages"


@dataclass(frozen=True, slots=True)
class Found:
    """One entry of a layer as the standard library's tarfile reads it."""

    kind: str
    mode: int
    content: bytes = b""
    link: str = ""


def tar_of(store: Store, layer: Layer) -> bytes:
    """Return a layer's tar, inflated by the standard library."""
    with gzip.open(store.blob(layer.digest)) as stream:  # `gzip.decompress` takes quadratic time for many members
        return stream.read()


def read_layer(store: Store, layer: Layer) -> dict[str, Found]:
    """Return what a layer holds, and check what is true of every one: digests, order, owners, times."""
    blob = store.blob(layer.digest).read_bytes()
    data = tar_of(store, layer)
    assert hashlib.sha256(blob).hexdigest() == layer.digest.hex
    assert hashlib.sha256(data).hexdigest() == layer.diff_id.hex
    assert (len(blob), len(data)) == (layer.size, layer.unpacked)
    found: dict[str, Found] = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for entry in archive:
            parent = entry.name.rpartition("/")[0]
            assert not parent or found[parent].kind == "directory", f"{entry.name} comes before its directory"
            assert entry.name not in found
            assert (entry.uid, entry.gid, entry.uname, entry.gname, entry.mtime) == (0, 0, "", "", 315532800)
            content = archive.extractfile(entry) if entry.isreg() else None
            kind = {tarfile.DIRTYPE: "directory", tarfile.REGTYPE: "file", tarfile.SYMTYPE: "symlink"}[entry.type]
            data = content.read() if content is not None else b""
            found[entry.name] = Found(kind, entry.mode, data, entry.linkname)
    assert list(found) == sorted(found, key=str.encode)
    return found


def files_of(store: Store, layer: Layer) -> dict[str, Found]:
    """Return a layer's files, without the directories."""
    return {path: found for path, found in read_layer(store, layer).items() if found.kind != "directory"}


def keep_wheel(store: Store, path: Path, *, file: str = "") -> Wheel:
    """Put a wheel into the store, as `repro build` would have, and return its lock entry."""
    data = path.read_bytes()
    name, version = path.name.split("-")[:2]
    return Wheel(
        name=normalise_name(name),
        version=version,
        file=file or path.name,
        url="https://index.example/" + path.name,
        sha256=store.add(data),
        size=len(data),
    )


def layer_of(store: Store, *paths: Path, python: PythonVersion = PYTHON) -> WheelLayer:
    """Return the layer that holds these wheels."""
    wheels = [keep_wheel(store, path) for path in paths]
    return wheel_layer(wheels, python, store, layout=1, comment="test")


def recorded(content: bytes, algorithm: str = "sha256") -> str:
    """Return a content's hash as RECORD writes it."""
    value = base64.urlsafe_b64encode(hashlib.new(algorithm, content).digest()).rstrip(b"=").decode()
    return f"{algorithm}={value}"


INFO = "probe-1.0.dist-info"
METADATA = b"Metadata-Version: 2.1\nName: probe\nVersion: 1.0\n"
WHEEL = b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def raw_wheel(
    directory: Path,
    members: Mapping[str, bytes],
    *,
    record: bytes | None = None,
    modes: Mapping[str, int] | None = None,
    file: str = "probe-1.0-py3-none-any.whl",
) -> Path:
    """Write a wheel whose every part can be wrong: METADATA, WHEEL and RECORD are made where none is given."""
    wanted = {f"{INFO}/METADATA": METADATA, f"{INFO}/WHEEL": WHEEL, **members}
    true = io.StringIO(newline="")
    rows = [(name, recorded(content), len(content)) for name, content in wanted.items()]
    csv.writer(true, lineterminator="\n").writerows([*rows, (f"{INFO}/RECORD", "", "")])
    wanted.setdefault(f"{INFO}/RECORD", true.getvalue().encode() if record is None else record)
    path = directory / file
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in wanted.items():
            member = zipfile.ZipInfo(name, (2020, 2, 2, 0, 0, 0))
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = (modes or {}).get(name, 0o100644) << 16
            archive.writestr(member, content)
    return path
