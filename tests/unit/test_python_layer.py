"""The layer made of an interpreter's archive: what is in it, what is not, and what is refused."""

from __future__ import annotations

import gzip
import io
import random
import tarfile
from collections.abc import Sequence

import pytest
from layers import Found, read_layer
from pythonmaker import MINOR, Member, member_header, pack, release

from repro_env.errors import IntegrityError
from repro_env.image.layer import Layer
from repro_env.image.python_archive import python_layer
from repro_env.image.python_patches import patched
from repro_env.image.store import Store
from repro_env.lock.model import Interpreter

LIB = f"lib/python{MINOR}"
PROGRAM: Member = (f"python/bin/python{MINOR}", b"\x7fELF program", 0o775, "")
WHOLE: tuple[Member, ...] = (
    PROGRAM,
    ("python/bin/python3", None, 0o777, f"python{MINOR}"),
    (f"python/{LIB}/os.py", b"# os\n" * 500_000, 0o664, ""),
    (f"python/{LIB}/unittest/case.py", b"# case", 0o600, ""),
    (f"python/{LIB}/empty", None, 0o700, ""),
    ("python/share/terminfo/é", b"", 0o644, ""),
    ("python/lib/libpython.so", None, 0o777, "../lib/libpython.so.1"),
    ("python/lib/libpython.so.1", b"library", 0o755, ""),
)


def make(store: Store, content: bytes, version: str = f"{MINOR}.7") -> Layer:
    """Return the layer of an archive with this content."""
    url = release(()).url
    return python_layer(Interpreter(version=version, url=url, sha256=store.add(content), size=len(content)), store)


def made(store: Store, members: Sequence[Member]) -> dict[str, Found]:
    """Return what stands below `/opt/python` in the layer of these members."""
    found = read_layer(store, make(store, pack(members)))
    return {path.removeprefix("opt/python/"): entry for path, entry in found.items() if path.startswith("opt/python/")}


def test_it_holds_what_the_archive_holds_with_one_owner_time_and_two_modes(store: Store) -> None:
    found = made(store, WHOLE)
    assert found[f"bin/python{MINOR}"] == Found("file", 0o755, b"\x7fELF program")
    assert found["bin/python3"] == Found("symlink", 0o777, b"", f"python{MINOR}")
    assert found[f"{LIB}/os.py"] == Found("file", 0o644, b"# os\n" * 500_000)
    assert found[f"{LIB}/unittest/case.py"] == Found("file", 0o644, b"# case")
    assert found[f"{LIB}/empty"] == Found("directory", 0o755)
    assert found["lib/libpython.so"].link == "../lib/libpython.so.1"
    assert "share/terminfo/é" in found


@pytest.mark.parametrize(
    "path",
    [
        f"{LIB}/__pycache__/os.cpython-311.pyc",
        f"{LIB}/site-packages/pip/__init__.py",
        f"{LIB}/test/test_os.py",
        f"{LIB}/ctypes/test/test_x.py",
        f"{LIB}/lib2to3/tests/data/x.py",
        f"bin/pip{MINOR}",
        "bin/pip",
        "lib/libpython.a",
    ],
)
def test_what_no_step_can_use_is_left_out(path: str, store: Store) -> None:
    assert path not in made(store, [*WHOLE, (f"python/{path}", b"x", 0o644, "")])


@pytest.mark.parametrize(
    "path", [f"{LIB}/test_of_mine.py", f"{LIB}/unittest/__init__.py", f"{LIB}/site-packages", f"bin/pydoc{MINOR}"]
)
def test_what_looks_like_it_stays(path: str, store: Store) -> None:
    content = None if path.endswith("site-packages") else b"x"
    assert path in made(store, [*WHOLE, (f"python/{path}", content, 0o644, "")])


def test_the_layer_depends_on_the_contents_alone(store: Store) -> None:
    shuffled = list(WHOLE)
    random.Random(1).shuffle(shuffled)
    one, other = pack(WHOLE), pack(shuffled)
    again = gzip.compress(gzip.decompress(other), 9)
    layers = {make(store, content).digest for content in (one, other, again)}
    assert len({one, other, again}) == 3
    assert len(layers) == 1


def test_it_is_made_once(store: Store) -> None:
    content = pack(WHOLE)
    first = make(store, content)
    store.blob(first.digest).touch()
    stamp = store.blob(first.digest).stat().st_mtime_ns
    assert make(store, content) == first
    assert store.blob(first.digest).stat().st_mtime_ns == stamp
    store.blob(first.digest).unlink()
    assert make(store, content) == first
    assert store.has(first.digest, first.size)


def test_a_hard_link_is_the_file_it_leads_to(store: Store) -> None:
    link = member_header("python/bin/python", b"", 0o755, f"python/bin/python{MINOR}")
    link.type = tarfile.LNKTYPE
    found = read_layer(store, make(store, raw([*map(header, WHOLE), (link, b"")])))
    assert found["opt/python/bin/python"] == found[f"opt/python/bin/python{MINOR}"]


def header(member: Member) -> tuple[tarfile.TarInfo, bytes]:
    return member_header(*member), member[1] or b""


def raw(members: Sequence[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
        for entry, content in members:
            archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "link", "said"),
    [
        ("/python/x", "", "does not stand below python/"),
        ("python/../x", "", "does not stand below python/"),
        ("x", "", "does not stand below python/"),
        ("pythonx/x", "", "does not stand below python/"),
        ("python/x", "/etc/passwd", "leads out of it"),
        ("python/x", "../etc/passwd", "leads out of it"),
        ("python/lib/x", "../../x", "leads out of it"),
        ("python/lib/x", "a/../../../x", "leads out of it"),
        ("python/lib/x", "../../python/../x", "leads out of it"),
        ("python/lib/x", "a/../x", "leads out of it"),
        (PROGRAM[0], "", "twice"),
        (f"{PROGRAM[0]}/x", "", "is no directory"),
        ("python/bin/python3/x", "", "is no directory"),
    ],
)
def test_what_would_stand_elsewhere_is_refused(name: str, link: str, said: str, store: Store) -> None:
    with pytest.raises(IntegrityError, match="is not a usable interpreter") as caught:
        make(store, pack([*WHOLE, (name, b"x", 0o644, link)]))
    assert said in caught.value.why
    assert list(store.temporary.iterdir()) == []


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.BLKTYPE, tarfile.GNUTYPE_SPARSE])
def test_devices_and_the_like_are_refused(kind: bytes, store: Store) -> None:
    entry = tarfile.TarInfo("python/lib/x")
    entry.type = kind
    with pytest.raises(IntegrityError):
        make(store, raw([*map(header, WHOLE), (entry, b"")]))


def test_an_archive_without_the_interpreter_is_refused(store: Store) -> None:
    with pytest.raises(IntegrityError) as caught:
        make(store, pack(WHOLE), version="3.99.1")
    assert caught.value.why == "it has no program bin/python3.99"


@pytest.mark.parametrize("damage", ["cut", "not gzip", "empty", "not tar", "bits"])
def test_a_damaged_archive_is_an_error_and_nothing_else(damage: str, store: Store) -> None:
    content = pack(WHOLE)
    damaged = {
        "cut": content[: len(content) // 2],
        "not gzip": b"<html>" * 100,
        "empty": b"",
        "not tar": gzip.compress(b"x" * 10_000),
        "bits": content[:200] + bytes(50) + content[250:],
    }[damage]
    with pytest.raises(IntegrityError):
        make(store, damaged)


SYSCONFIG = b"""# system configuration generated and used by the sysconfig module
build_time_vars = {'CC': '/tools/llvm/bin/clang -pthread',
 'CXX': 'clang++ -pthread', 'AR': '/tools/llvm/bin/llvm-ar', 'LDSHARED': 'x86_64-linux-gnu-gcc -shared',
 'prefix': '/install', 'LIBDIR': '/install/lib', 'CFLAGS': '-I/usr/install -g /install/include /installed',
 'HAVE_X': 1, 'CONFIG_ARGS': "'--prefix=/install' 'CC=clang'"}
"""


def test_a_build_says_where_it_stands_and_names_the_usual_compilers(store: Store) -> None:
    place = f"{LIB}/_sysconfigdata__linux_x86_64-linux-gnu.py"
    found = made(store, [*WHOLE, (f"python/{place}", SYSCONFIG, 0o644, "")])
    values: dict[str, object] = {}
    exec(found[place].content, values)
    assert values["build_time_vars"] == {
        "CC": "cc -pthread",
        "CXX": "c++ -pthread",
        "AR": "ar",
        "LDSHARED": "cc -shared",
        "prefix": "/opt/python",
        "LIBDIR": "/opt/python/lib",
        "CFLAGS": "-I/usr/install -g /opt/python/include /installed",
        "HAVE_X": 1,
        "CONFIG_ARGS": "'--prefix=/install' 'CC=clang'",
    }


@pytest.mark.parametrize(
    "text", [b"\xff", b"x = ", b"import os", b"build_time_vars = f()", b"build_time_vars = [1]", b"a = {'x': None}"]
)
def test_what_is_not_understood_stays_as_it_is(text: bytes) -> None:
    assert patched("lib/python3.12/_sysconfigdata_x.py", text) == text


def test_pkg_config_finds_the_prefix_by_itself() -> None:
    text = b"# See: man pkg-config\nprefix=/install\nlibdir=${exec_prefix}/lib\n"
    assert patched("lib/pkgconfig/python3.pc", text).splitlines()[1] == b"prefix=${pcfiledir}/../.."
