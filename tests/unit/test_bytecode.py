"""Layers of byte code: which modules they hold, that Python takes them, and that nothing else moves a byte."""

from __future__ import annotations

import importlib.util
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from layers import files_of
from tiny import directory, link, make_layer

from repro_env.build import compiling
from repro_env.build.bytecode import Bytecode, compiled_layers
from repro_env.build.compiling import Compiler
from repro_env.edges.report import Silent
from repro_env.errors import BuildError, ToolError
from repro_env.image import tar
from repro_env.image.layer import Layer
from repro_env.image.store import Store
from repro_env.image.unpack import root_filesystem
from repro_env.values import Platform

MINOR = f"3.{sys.version_info.minor}"
VERSION = platform.python_version()
TAG = sys.implementation.cache_tag
HERE = next(known for known in map(Platform, ("amd64", "arm64")) if known.machine == os.uname().machine)
SITE = f"opt/env/lib/python{MINOR}/site-packages"
LARGE = "".join(f"name_{number} = {number}\n" for number in range(60_000)).encode()


@pytest.fixture(autouse=True)
def _no_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the Python that runs the tests stand for the image's, as where there is no bwrap."""
    monkeypatch.setattr(compiling, "find_bwrap", lambda: None)


def compiler(store: Store, workers: int = 2, version: str = VERSION) -> Compiler:
    return Compiler(version=version, program="/usr/bin/python3", platform=HERE, layers=(), store=store, workers=workers)


def sources(store: Store, modules: Mapping[str, bytes], comment: str = "sources") -> Layer:
    """Return a layer of modules below site-packages, or at an absolute place."""
    files = {f"{SITE}/{path}" if path[0] != "/" else path[1:]: content for path, content in modules.items()}
    entries = [directory(path) for path in tar.parents(files)]
    entries += [(tar.Entry(path=path, size=len(content)), content) for path, content in files.items()]
    return make_layer(store, sorted(entries, key=lambda entry: entry[0].path), comment)


def made(store: Store, *layers: Layer, workers: int = 2) -> Bytecode:
    return compiled_layers(layers, compiler(store, workers), store, Silent())


def compiled(store: Store, modules: Mapping[str, bytes], workers: int = 2) -> dict[str, bytes]:
    """Return the byte code of one layer's modules, by its path below site-packages."""
    found = made(store, sources(store, modules), workers=workers)
    layers = [*found.beside.values(), *([found.together] if found.together else [])]
    files = {path: file for layer in layers for path, file in files_of(store, layer).items()}
    return {path.removeprefix(f"{SITE}/"): file.content for path, file in files.items()}


def test_a_module_has_byte_code_that_is_valid_whatever_happens_to_its_source(store: Store, tmp_path: Path) -> None:
    layer = sources(store, {"pkg/__init__.py": b"value = 1\n", "pkg/inner/mod.py": b"import pkg\n"})
    compiled = made(store, layer).together
    assert compiled is not None
    root = root_filesystem(store, (layer, compiled))
    found = root / SITE / "pkg" / "__pycache__" / f"__init__.{TAG}.pyc"
    data = found.read_bytes()
    assert data[:4] == importlib.util.MAGIC_NUMBER
    assert data[4:8] == b"\1\0\0\0"
    assert data[8:16] == importlib.util.source_hash(b"value = 1\n")

    copy = tmp_path / "site"
    subprocess.run(["cp", "-r", root / SITE, copy], check=True)
    (copy / "pkg/__init__.py").write_text("value = 2\n")
    asked = "import pkg, pkg.inner.mod; print(pkg.value, pkg.__cached__)"
    words = [sys.executable, "-S", "-c", asked]
    said = subprocess.run(words, env={"PYTHONPATH": str(copy)}, check=True, capture_output=True, text=True).stdout
    assert said.split() == ["1", str(copy / "pkg/__pycache__" / found.name)]


def test_a_traceback_names_the_file_as_the_image_has_it(store: Store) -> None:
    assert f"/{SITE}/mod.py".encode() in compiled(store, {"mod.py": b"x = 1"})[f"__pycache__/mod.{TAG}.pyc"]


def test_the_standard_library_is_compiled_too_where_the_layer_has_one(store: Store) -> None:
    layer = sources(
        store,
        {
            f"/opt/python/lib/python{MINOR}/os.py": b"a = 1",
            f"/usr/lib/python{MINOR}/os.py": b"a = 1",
            "/usr/lib/python3/dist-packages/apt.py": b"a = 1",
            "/usr/lib/python3.1/os.py": b"a = 1",
            "/usr/share/x.py": b"a = 1",
            "/repro/code/x.py": b"a = 1",
        },
    )
    compiled = made(store, layer).together
    assert compiled is not None
    assert set(files_of(store, compiled)) == {
        f"opt/python/lib/python{MINOR}/__pycache__/os.{TAG}.pyc",
        f"usr/lib/python{MINOR}/__pycache__/os.{TAG}.pyc",
    }


def test_what_is_no_module_has_none(store: Store) -> None:
    modules = {
        "good.py": b"a = 1",
        "python2.py": b"print 1",
        "nul.py": b"a = '\0'",
        "bytes.py": b"# coding: utf-8\n\xff",
        "deep.py": b"(" * 5000,
        "data.txt": b"a = 1",
        "tests/test_a.py": b"a = 1",
        "pkg/test/test_a.py": b"a = 1",
        "pkg/testing.py": b"a = 1",
        "held.py": b"a = 1",
        f"__pycache__/held.{TAG}.pyc": b"its own",
        "odd\nname.py": b"a = 1",
        "é.py": b"a = 1",
        "empty.py": b"",
    }
    expected = {"good", "pkg/testing", "é", "empty"}
    found = compiled(store, modules)
    assert set(found) == {
        f"{os.path.dirname(name)}/__pycache__/{os.path.basename(name)}.{TAG}.pyc".lstrip("/") for name in expected
    }


def test_links_are_not_followed(store: Store, tmp_path: Path) -> None:
    (tmp_path / "secret.py").write_text("secret = 1")
    entries = [*map(directory, sorted(tar.parents([f"{SITE}/x"]))), link(f"{SITE}/mod.py", str(tmp_path / "secret.py"))]
    assert made(store, make_layer(store, entries)) == Bytecode({}, None)


def test_without_modules_there_is_no_layer_and_no_interpreter_is_asked_for(store: Store) -> None:
    layer = sources(store, {"data.txt": b""})
    assert compiled_layers([layer], compiler(store, version="3.0.0"), store, Silent()) == Bytecode({}, None)


def test_large_layers_have_byte_code_of_their_own_and_small_ones_share(store: Store) -> None:
    large = sources(store, {"large.py": LARGE}, "large 1.0")
    small = [sources(store, {f"{name}.py": name.encode()}, f"{name} 1.0") for name in ("one", "two")]
    before = made(store, large, *small)
    assert set(before.beside) == {large.diff_id}
    assert before.beside[large.diff_id].comment == "byte code of large 1.0"
    assert before.together is not None
    assert before.together.comment == "byte code of one 1.0, two 1.0"
    after = made(store, large, *small, sources(store, {"three.py": b"three"}))
    assert after.beside == before.beside
    assert after.together != before.together


def test_it_is_compiled_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = (sources(store, {"large.py": LARGE}), sources(store, {"small.py": b"a = 1"}))
    first = made(store, *layers)
    monkeypatch.setattr(Compiler, "compile", None)
    assert made(store, *layers) == first


FLIPPING = b"""
def check(name):
    return name in {"engine_kwargs", "min_count", "numeric_only"}
"""
"""Whose constant is shared in another way once these words are known from elsewhere."""


def test_what_else_is_compiled_changes_nothing(store: Store) -> None:
    words = b"engine_kwargs = min_count = numeric_only = 1\n" * 3
    alone = compiled(store, {"pkg/mod.py": FLIPPING})
    among = compiled(store, {"a/__init__.py": words + FLIPPING, "pkg/mod.py": FLIPPING, "z.py": words})
    assert among[f"pkg/__pycache__/mod.{TAG}.pyc"] == alone[f"pkg/__pycache__/mod.{TAG}.pyc"]


def test_the_bytes_depend_on_no_worker_directory_seed_or_locale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stdlib = Path(os.__file__).parent
    modules = {
        f"{package}/{path.name}": path.read_bytes()
        for package in ("json", "email", "http", "asyncio")
        for path in (stdlib / package).glob("*.py")
    }
    found = []
    for number, workers in enumerate((1, 2, 5)):
        monkeypatch.setenv("PYTHONHASHSEED", str(number))
        monkeypatch.setenv("LC_ALL", ("C", "C.UTF-8", "POSIX")[number])
        monkeypatch.setenv("PYTHONOPTIMIZE", str(number))
        monkeypatch.chdir(stdlib if number else tmp_path)
        os.umask((0o022, 0o077, 0)[number])
        found.append(compiled(Store(tmp_path / f"store{number}"), modules, workers))
    assert len(found[0]) == len(modules)
    assert found[0] == found[1] == found[2]


def test_an_interpreter_that_is_nowhere_is_named_with_what_to_do(store: Store) -> None:
    layer = sources(store, {"mod.py": b"a = 1"})
    with pytest.raises(BuildError, match=rf"Python {MINOR}\.99 for linux/\w+ cannot be run on this machine") as caught:
        compiled_layers([layer], compiler(store, version=f"{MINOR}.99"), store, Silent())
    assert "bubblewrap" in caught.value.hint


def test_a_process_that_dies_is_an_error_and_leaves_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    script = store.root / "script.py"
    script.write_text("import os; os.abort()")
    monkeypatch.setattr(compiling, "_SCRIPT", script)
    with pytest.raises(ToolError):
        compiled(store, {"mod.py": b"a = 1"})
    assert list(store.temporary.iterdir()) == []


def test_a_module_that_vanishes_is_an_error(store: Store) -> None:
    with pytest.raises(ToolError):
        list(compiler(store).compile(store.root, ["/nothing.py"]))
