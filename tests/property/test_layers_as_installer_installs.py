"""Wheels of every kind: the layer holds exactly what pypa/installer would have written, or the wheel is refused."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import posixpath
import random
import re
import string
import tarfile
import tempfile
import warnings
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from installer import install
from installer.destinations import SchemeDictionaryDestination
from installer.sources import WheelFile
from layers import Found, files_of, layer_of

from repro_env.errors import BuildError, IntegrityError
from repro_env.image import tar
from repro_env.image.store import Store

SETTINGS = settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow], database=None)

INFO, DATA = "probe-1.0.dist-info", "probe-1.0.data"
PREFIX = "opt/env"
SITE = f"{PREFIX}/lib/python3.11/site-packages"

LETTERS = string.ascii_letters + string.digits + "_-.+ ,'\"äß名é"
names = st.text(LETTERS, min_size=1, max_size=12).filter(lambda text: text not in {".", ".."})
long_names = st.builds(lambda text, count: text * count, names, st.integers(1, 12))
schemes = ("purelib", "platlib/x", "scripts", "headers", "data/share/x", "data/etc", "unknown")
folders = st.sampled_from(
    [
        "probe",
        "probe/sub",
        "other",
        INFO,
        f"{INFO}/licenses",
        "a/" * 30 + "deep",
        *(f"{DATA}/{name}" for name in schemes),
    ]
)
paths = st.builds(
    lambda folder, middle, name: "/".join([folder, *middle, name]),
    folders,
    st.lists(names, max_size=2),
    st.one_of(names, long_names),
)


@dataclass(frozen=True)
class Content:
    """A member's content by its recipe, so that a failing example stays readable."""

    size: int
    kind: str
    level: int
    mode: int
    listed: str = "sha256"
    head: bytes = b""

    @property
    def data(self) -> bytes:
        if self.kind == "zeros":
            return self.head + bytes(self.size)
        if self.kind == "text":
            return self.head + (b"import sys  # line\n" * (self.size // 19 + 1))[: self.size]
        return self.head + random.Random(self.size).randbytes(self.size)


contents = st.builds(
    Content,
    size=st.one_of(st.integers(0, 600), st.integers(0, 200 << 10), st.sampled_from([511, 512, 513, 65535, 65536])),
    kind=st.sampled_from(["zeros", "text", "random"]),
    level=st.integers(-1, 9),  # -1: stored
    mode=st.sampled_from([0o100644, 0o100755, 0o100600, 0o100711, 0]),
    listed=st.sampled_from(["sha256"] * 8 + ["sha512", "sha384", "nothing", "absent"]),
    head=st.sampled_from([b""] * 4 + [b"#!python\n", b"#!pythonw -E\n", b"#!/bin/sh\n", b"#!python"]),
)


@dataclass(frozen=True)
class Probe:
    """A wheel to be made: archive path to content, and the names of its entry points."""

    members: dict[str, Content]
    entry_points: dict[str, str] = field(default_factory=dict)
    gui: dict[str, str] = field(default_factory=dict)

    def write(self, directory: Path) -> Path:
        sections = {"console_scripts": self.entry_points, "gui_scripts": self.gui}
        points = "".join(
            f"[{section}]\n" + "".join(f"{name} = {value}\n" for name, value in scripts.items())
            for section, scripts in sections.items()
            if scripts
        )
        fixed = {
            f"{INFO}/METADATA": b"Metadata-Version: 2.1\nName: probe\nVersion: 1.0\n",
            f"{INFO}/WHEEL": b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            **({f"{INFO}/entry_points.txt": points.encode()} if points else {}),
        }
        members = {name: Content(0, "zeros", 6, 0o100644, head=data) for name, data in fixed.items()} | {
            name: content for name, content in self.members.items() if name not in fixed
        }
        record = io.StringIO(newline="")
        listed = (row(name, content) for name, content in members.items() if content.listed != "absent")
        csv.writer(record, lineterminator="\n").writerows([*listed, (f"{INFO}/RECORD", "", "")])
        members[f"{INFO}/RECORD"] = Content(0, "zeros", 6, 0o100644, head=record.getvalue().encode())
        path = directory / "probe-1.0-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members.items():
                member = zipfile.ZipInfo(name)
                member.external_attr = content.mode << 16
                kind = zipfile.ZIP_STORED if content.level < 0 else zipfile.ZIP_DEFLATED
                archive.writestr(member, content.data, kind, max(content.level, 0))
        return path


def row(name: str, content: Content) -> tuple[str, str, str]:
    if content.listed == "nothing":
        return name, "", ""
    digest = hashlib.new(content.listed, content.data).digest()
    return name, f"{content.listed}={base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}", str(len(content.data))


dotted = st.lists(st.text(string.ascii_lowercase, min_size=1, max_size=5), min_size=1, max_size=3).map(".".join)
targets = st.builds(
    lambda module, name, extra: f"{module}:{name}{extra}", dotted, dotted, st.sampled_from(["", " [x]"])
)
script_names = st.text(string.ascii_letters + string.digits + "-_.", min_size=1, max_size=10).filter(
    lambda name: name not in {".", ".."}
)
scripts = st.dictionaries(script_names, targets, max_size=3)


def apart(members: dict[str, Content], console: dict[str, str], gui: dict[str, str]) -> Probe:
    """Return a wheel in which no two scripts have one name: installer and uv do not agree on what happens then."""
    taken = {name.split("/")[2] for name in members if name.startswith(f"{DATA}/scripts/")}
    console = {name: target for name, target in console.items() if name not in taken}
    return Probe(members, console, {name: gui[name] for name in gui.keys() - taken - console.keys()})


probes = st.builds(apart, st.dictionaries(paths, contents, max_size=8), scripts, scripts)


def installed(path: Path, root: Path) -> dict[str, Found]:
    """Return what pypa/installer writes, in the shape of a layer's files."""
    places = {
        "purelib": root / SITE,
        "platlib": root / SITE,
        "scripts": root / PREFIX / "bin",
        "headers": root / PREFIX / "include/site/python3.11/probe",
        "data": root / PREFIX,
    }
    destination = SchemeDictionaryDestination(
        {name: str(place) for name, place in places.items()}, f"/{PREFIX}/bin/python", "posix", overwrite_existing=True
    )
    with WheelFile.open(path) as source:
        install(source, destination, {"INSTALLER": b"repro\n"})
    found = {}
    for file in root.rglob("*"):
        if file.is_file():
            executable = file.stat().st_mode & 0o111 or file.parent.is_relative_to(
                root / PREFIX / "bin"
            )  # as uv has it
            mode = 0o755 if executable else 0o644
            found[file.relative_to(root).as_posix()] = Found("file", mode, file.read_bytes())
    return found


def target_of(script: bytes) -> tuple[str, str, str]:
    """Return an entry-point script's interpreter, module and called attribute."""
    text = script.decode()
    imported = re.search(r"^from (\S+) import (\S+)$", text, re.MULTILINE)
    called = re.search(r"sys\.exit\((\S+)\(\)\)$", text, re.MULTILINE)
    assert imported
    assert called
    assert called[1].partition(".")[0] == imported[2]
    return text.splitlines()[0], imported[1], called[1]


def record_of(content: bytes, prefix: str) -> set[tuple[str, str, str]]:
    """Return RECORD's rows by place in the image; those of scripts without their hash, whose text is our own."""
    rows = set()
    for name, hashed, size in csv.reader(io.StringIO(content.decode(), newline="")):
        place = name.removeprefix("../../../") if name.startswith("../../../") else f"{SITE}/{name}"[len(PREFIX) + 1 :]
        place = posixpath.normpath(place)
        mine = place.endswith("RECORD") or place in prefix.split("\0")
        rows.add((place, "" if mine else hashed, "" if mine else size))
    return rows


def compare(layer: dict[str, Found], reference: dict[str, Found], entry_points: set[str]) -> None:
    assert layer.keys() == reference.keys()
    generated = "\0".join(place[len(PREFIX) + 1 :] for place in entry_points)
    for path, expected in reference.items():
        if path in entry_points:
            assert target_of(layer[path].content) == target_of(expected.content), path
            assert layer[path].mode == expected.mode == 0o755
        elif path == f"{SITE}/{INFO}/RECORD":
            assert record_of(layer[path].content, generated) == record_of(expected.content, generated)
        else:
            assert layer[path] == expected, path


@SETTINGS
@given(probes)
def test_a_layer_holds_what_installer_would_have_written(probe: Probe) -> None:
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        path = probe.write(root)
        store = Store(root / "store")
        try:
            found = files_of(store, layer_of(store, path).layer)
        except (IntegrityError, BuildError) as error:
            check_reason(probe, str(error))
            return
        own = {f"{PREFIX}/bin/{name}" for name in (*probe.entry_points, *probe.gui)}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            compare(found, installed(path, root / "installed"), own)


def check_reason(probe: Probe, text: str) -> None:
    """Check that a refusal is right: an unknown scheme, or files that would stand in each other's place."""
    if "is not an installation scheme" in text:
        assert any(name.startswith(f"{DATA}/unknown/") for name in probe.members)
        return
    assert any(word in text for word in ("twice", "a directory is needed", "environment's own")), text
    places = [place_of(name) for name in probe.members]
    places += [f"{PREFIX}/bin/{name}" for name in (*probe.entry_points, *probe.gui)]
    places += [f"{SITE}/{INFO}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "INSTALLER", "entry_points.txt")]
    reserved = {f"{PREFIX}/bin/python", f"{PREFIX}/bin/python3", f"{PREFIX}/bin/python3.11", f"{PREFIX}/pyvenv.cfg"}
    clash = any(one != other and (one + "/").startswith(other + "/") for one in places for other in places)
    assert clash or len(set(places)) < len(places) or any(reserved & {place, *above(place)} for place in places), text


def above(place: str) -> set[str]:
    return {str(parent) for parent in Path(place).parents}


def place_of(name: str) -> str:
    roots = {"purelib": SITE, "platlib": SITE, "scripts": f"{PREFIX}/bin", "data": PREFIX}
    roots["headers"] = f"{PREFIX}/include/site/python3.11/probe"
    top, _, rest = name.partition("/")
    scheme, _, below = rest.partition("/")
    return f"{roots[scheme]}/{below}" if top == DATA else f"{SITE}/{name}"


# Tar headers


entries = st.builds(
    tar.Entry,
    path=st.lists(st.one_of(names, long_names), min_size=1, max_size=6).map("/".join),
    kind=st.sampled_from(["file", "directory", "symlink", "hardlink"]),
    mode=st.sampled_from([0o644, 0o755, 0o1777, 0o4755, 0]),
    link=st.one_of(st.just("a"), st.lists(st.one_of(names, long_names), min_size=1, max_size=6).map("/".join)),
    owner=st.integers(0, 2**32),
    group=st.integers(0, 2**32),
)


@settings(deadline=None, max_examples=500)
@given(entries, st.integers(0, 2**45))
def test_tarfile_reads_back_what_was_written(entry: tar.Entry, size: int) -> None:
    isfile = entry.kind == "file"
    entry = tar.Entry(
        path=entry.path,
        kind=entry.kind,
        mode=entry.mode,
        size=size if isfile else 0,
        link=entry.link if entry.kind in {"symlink", "hardlink"} else "",
        owner=entry.owner,
        group=entry.group,
    )
    header = tar.header(entry)
    assert len(header) % tar.BLOCK == 0
    with tarfile.open(fileobj=io.BytesIO(header + tar.END_OF_ARCHIVE)) as archive:
        found = archive.next()
    assert found is not None
    kinds = {
        tarfile.REGTYPE: "file",
        tarfile.DIRTYPE: "directory",
        tarfile.SYMTYPE: "symlink",
        tarfile.LNKTYPE: "hardlink",
    }
    assert (found.name, kinds[found.type], found.mode) == (entry.path, entry.kind, entry.mode)
    assert (found.size, found.linkname, found.uid, found.gid) == (entry.size, entry.link, entry.owner, entry.group)
    assert (found.mtime, found.uname, found.gname) == (tar.MTIME, "", "")
