"""What step images carry runs on Python 3.8 and its standard library, and is the same wherever it is built."""

from __future__ import annotations

import ast
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pynvml
import pytest

import repro_env
from repro_env.errors import BuildError
from repro_env.verify import program
from repro_env.verify.bindings import part_of, used_names
from repro_env.verify.program import MODULES, OLDEST, interpreter_arguments, program_digest, program_files

PACKAGE = Path(repro_env.__file__).parent
CARRIED = [*MODULES, "verify/enter.py"]

# Imported for type checkers alone.
FOR_TYPES = ("typing.Self", "typing.NoReturn")

STANDARD = {*sys.stdlib_module_names, "pynvml"}


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the modules that a tree's statements import, those in `if TYPE_CHECKING` aside."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)
        else:
            yield from imports(node)


def closure(name: str) -> set[str]:
    """Return the package's own modules that one of them imports, with all that those import."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        modules = imports(ast.parse((PACKAGE / waiting.pop()).read_text()))
        own = {one.partition(".")[2].replace(".", "/") + ".py" for one in modules if one.startswith("repro_env.")}
        waiting += own - found
        found |= own
    return found


def test_it_carries_what_it_imports_and_nothing_more() -> None:
    modules = closure("verify/enter.py")
    rooms = {f"{module.partition('/')[0]}/__init__.py" for module in modules if "/" in module}
    assert sorted(modules | rooms) == list(MODULES)


@pytest.mark.parametrize("name", CARRIED)
def test_its_syntax_is_of_the_oldest_python(name: str) -> None:
    ast.parse((PACKAGE / name).read_text(), feature_version=(3, OLDEST))


@pytest.mark.parametrize("name", CARRIED)
def test_it_imports_the_standard_library_alone(name: str) -> None:
    outside = {module.partition(".")[0] for module in imports(ast.parse((PACKAGE / name).read_text()))}
    assert outside <= {*STANDARD, "repro_env"}


def newer_than_the_oldest(files: list[str]) -> str:
    """Return what these files use that the oldest Python does not have, as vermin tells it."""
    words = [str(Path(sys.executable).with_name("vermin")), f"--target=3.{OLDEST}-", "--violations", "--no-tips"]
    words += [word for name in FOR_TYPES for word in ("--exclude", name)]
    done = subprocess.run([*words, *files], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode in {0, 1}, done.stderr
    return done.stdout if done.returncode else ""


def test_its_library_functions_are_of_the_oldest_python() -> None:
    pynvml = importlib.util.find_spec("pynvml")
    assert pynvml is not None
    assert pynvml.origin is not None
    assert newer_than_the_oldest([*(str(PACKAGE / name) for name in CARRIED), pynvml.origin]) == ""


@pytest.mark.parametrize("line", ['"a".removeprefix("a")', "import tomllib", '{"a": 1} | {"b": 2}'])
def test_the_check_finds_a_planted_violation(line: str, tmp_path: Path) -> None:
    (tmp_path / "planted.py").write_text(f"{line}\n")
    assert "planted.py" in newer_than_the_oldest([str(tmp_path / "planted.py")])


BUILT_IN = {"dict", "frozenset", "list", "set", "tuple", "type"}


def types_as_values(source: str) -> list[str]:
    """Return what is evaluated that only newer Pythons can: `list[int]`, `Mapping[str, int]`, `int | None`."""
    tree = ast.parse(source)
    abstract = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module in {"collections", "collections.abc"}
        for alias in node.names
    }
    found = []
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if (
            isinstance(node, ast.Subscript)
            and isinstance(node.value, ast.Name)
            and node.value.id in BUILT_IN | abstract
        ):
            found.append(ast.unparse(node))
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr) and "None" in ast.unparse(node):
            found.append(ast.unparse(node))
        waiting += (
            child
            for field, value in ast.iter_fields(node)
            if field not in {"annotation", "returns"}
            for child in (value if isinstance(value, list) else [value])
            if isinstance(child, ast.AST)
        )
    return found


@pytest.mark.parametrize("name", CARRIED)
def test_types_are_only_annotations(name: str) -> None:
    source = (PACKAGE / name).read_text()
    assert types_as_values(source) == []
    assert not any(
        isinstance(node, ast.arg | ast.AnnAssign) and node.annotation for node in ast.walk(ast.parse(source))
    ) or ("from __future__ import annotations\n" in source)


@pytest.mark.parametrize(
    "source",
    [
        "Numbers = tuple[int, ...]",
        "from collections.abc import Mapping\nNames = Mapping[str, str]",
        "Maybe = int | None",
        "def f(one=list[int]()): pass",
    ],
)
def test_the_check_finds_planted_types(source: str) -> None:
    assert types_as_values(source)


def test_annotations_may_be_of_any_python() -> None:
    assert types_as_values("def f(a: list[int] | None) -> dict[str, int]:\n    b: list[int] = []") == []


@pytest.mark.parametrize("name", CARRIED)
def test_its_data_classes_are_such_without_what_newer_pythons_have(name: str) -> None:
    tree = ast.parse((PACKAGE / name).read_text())
    for node in ast.walk(tree):
        assert not (isinstance(node, ast.ImportFrom) and node.module == "dataclasses" and name != "frozen.py") or all(
            alias.name != "dataclass" for alias in node.names
        ), "take it from repro_env.frozen"
        if isinstance(node, ast.ClassDef) and any("dataclass" in ast.unparse(one) for one in node.decorator_list):
            given = [field.value is not None for field in node.body if isinstance(field, ast.AnnAssign)]
            assert given == sorted(given), f"{node.name}: without kw_only, fields with defaults come last"


@pytest.fixture
def carried(tmp_path: Path) -> Path:
    """The program in a directory, with nothing else beside it."""
    for name, content in program_files().items():
        path = tmp_path / "verify" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "verify"


@pytest.mark.parametrize("version", ["sys.version_info", f"(3, {OLDEST}, 0, 'final', 0)"])
def test_it_is_imported_with_nothing_installed(carried: Path, version: str) -> None:
    """The second time by an interpreter that says it is the oldest: its data classes have neither slots nor kw_only."""
    code = (
        f"import sys; sys.version_info = {version}; sys.path.insert(0, {str(carried)!r}); "
        "import repro_env.verify.entry, repro_env.verify.nvml, pynvml; "
        "from repro_env.verify.needs import Needs; from repro_env.lock.cuda import CudaFacts; "
        "needs = Needs(project='p', step='s', platform='linux/amd64', cuda=CudaFacts(runtime='12.8', origin='x')); "
        "assert Needs.from_dict(needs.to_dict()) == needs; "
        "print(sorted(name for name in sys.modules if name.startswith('repro_env.') and name.count('.') == 1))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    tops = {name.partition("/")[0].removesuffix(".py") for name in MODULES}
    assert done.stdout.strip() == str(sorted(f"repro_env.{top}" for top in tops))


def test_the_interpreter_looks_at_nothing_of_the_steps() -> None:
    assert interpreter_arguments("/opt/env/bin/python") == (
        "/opt/env/bin/python",
        *("-I", "-S", "-B"),
        "/repro/verify/enter.py",
    )


def test_its_files_are_this_programs_own() -> None:
    files = program_files()
    assert list(files) == sorted(files)
    assert files["repro_env/verify/entry.py"] == (PACKAGE / "verify" / "entry.py").read_bytes()
    assert files["repro_env/__init__.py"] == b""


def test_its_digest_is_of_names_and_contents(monkeypatch: pytest.MonkeyPatch) -> None:
    before = program_digest()
    assert len(before) == 64
    monkeypatch.setattr(program, "program_files", lambda: {**program_files(), "enter.py": b""})
    assert program_digest() != before


def test_bindings_of_another_version_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "pynvml.py").write_text("nvmlInit = None\n")
    spec = importlib.util.spec_from_file_location("pynvml", tmp_path / "pynvml.py")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: spec)
    program_files.cache_clear()
    with pytest.raises(BuildError, match="not those that images carry") as caught:
        program_files()
    assert caught.value.hint == "install the one this program is made for: pip install nvidia-ml-py==13.615.71"
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(BuildError, match="not installed"):
        program_files()


def test_the_part_of_the_bindings_is_whole() -> None:
    """Of what they define, it has all that it speaks of and all that is asked for, as it stands in them."""
    whole = Path(pynvml.__file__).read_text()
    asked = used_names((PACKAGE / "verify" / "nvml.py").read_text())
    part = program_files()["pynvml.py"].decode()
    kept, known = defined(part), defined(whole)
    assert {name: known[name] for name in kept} == kept
    assert asked <= set(kept)
    spoken = {node.id for node in ast.walk(ast.parse(part)) if isinstance(node, ast.Name)}
    assert spoken & set(known) <= set(kept)
    assert {name for name in known if name.startswith("NVML_ERROR_")} <= set(kept)
    assert part.startswith(whole[: whole.index("from ctypes")]), "the licence asks for its notice"
    assert len(part) < len(whole) / 10


def defined(source: str) -> dict[str, str]:
    """Return the statements of a module without their places, by the name that each defines."""
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found[node.name] = ast.dump(node)
        elif isinstance(node, ast.Assign):
            found[ast.unparse(node.targets[0])] = ast.dump(node)
    return found


def test_the_part_of_some_bindings() -> None:
    used = "used = {\n    1: other\n}\nother = used2\n"
    function, decorator = "@used3\ndef f():\n    pass\n\n", "def used3(x):\n    g\n"
    text = f"# notice\nimport a\n{used}{function}run()\n{decorator}"
    assert part_of(text, ["f"]) == f"# notice\nimport a\n{function}run()\n{decorator}"
    assert part_of(text, ["used"]) == f"# notice\nimport a\n{used}run()\n"
    assert part_of(text, []) == "# notice\nimport a\nrun()\n"
    with pytest.raises(KeyError):
        part_of(text, ["none"])


def test_the_pin_is_that_of_the_project() -> None:
    assert f'"nvidia-ml-py=={program.BINDINGS_VERSION}"' in (PACKAGE.parent / "pyproject.toml").read_text()


def test_the_same_bytes_from_any_directory_and_locale(tmp_path: Path) -> None:
    code = "from repro_env.verify.program import program_digest; print(program_digest())"
    environ = {"PATH": os.environ["PATH"], "LC_ALL": "C", "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.strip() == program_digest()
