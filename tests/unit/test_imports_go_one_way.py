"""The rooms of the code import in one direction, and the pure ones touch nothing of the world."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import repro_env

ROOT = Path(repro_env.__file__).parent

# A room may import itself and the rooms named here. What stands in one line of the design is a sibling of the others
# and imports none of them; `cli` sees everything; `edges` is imported for its protocols and helpers.
ALLOWED = {
    "frozen": set[str](),
    "sizes": set[str](),
    "values": {"sizes", "frozen"},
    "errors": {"frozen"},
    "config": {"values", "errors", "sizes", "frozen"},
    "lock": {"config", "values", "errors", "sizes", "frozen"},
    "edges": {"values", "errors", "sizes", "frozen"},
    "verify": {"lock", "config", "values", "errors", "sizes", "frozen", "edges"},
    "image": {"lock", "config", "values", "errors", "sizes", "frozen", "edges"},
    **{
        room: {"image", "lock", "config", "values", "errors", "sizes", "frozen", "edges"}
        for room in ("run", "record", "resolve", "data")
    },
    # Step images carry what verifies them, and their slice of the lock.
    "build": {"verify", "image", "lock", "config", "values", "errors", "sizes", "frozen", "edges"},
}
PURE = {"config", "lock", "values", "errors", "sizes", "frozen"}
EVERYTHING = {"cli", "__main__"}

# What reads a clock, the environment, the file system, chance, the network or another process.
IMPURE_MODULES = re.compile(
    r"(os|io|time|random|secrets|socket|ssl|http|urllib\.request|urllib3|subprocess|multiprocessing|threading|asyncio"
    r"|tempfile|shutil|glob|fcntl|platform|getpass|locale|concurrent|docker|uuid|sqlite3)(\.|$)"
)
IMPURE_CALLS = re.compile(
    r"(open|input|print|.*\.(now|today|utcnow|cwd|home|open|read_text|read_bytes|write_text|write_bytes|exists|is_file"
    r"|is_dir|iterdir|glob|rglob|stat|lstat|resolve|absolute|expanduser|mkdir|unlink|touch))$"
)
# What is slow to import, and so stands on no top level that `repro lock --check` passes.
HEAVY_MODULES = re.compile(r"(urllib3|rich|docker|tomlkit|subprocess|email|importlib\.metadata|elftools|isal)(\.|$)")


def violations(room: str, source: str, package: str = "repro_env") -> Iterator[str]:
    """Yield what a module of `room` with this source must not do, with the line it does it in."""
    for node in ast.walk(ast.parse(source)):
        for name in imported(node):
            yield from (f"{node.lineno}: {fault}" for fault in import_faults(room, name, package))  # type: ignore[attr-defined]
        if room in PURE and isinstance(node, ast.Call) and IMPURE_CALLS.match(called(node)):
            yield f"{node.lineno}: {room} is pure and calls {called(node)}()"


def imported(node: ast.AST) -> list[str]:
    """Return the dotted names that an import statement may bring in: for `from a import b`, `a` and `a.b`."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "relative imports hide the room they go to"
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def import_faults(room: str, name: str, package: str) -> Iterator[str]:
    parts = name.split(".")
    if parts[0] == package:
        target = parts[1] if len(parts) > 1 else ""
        if target and target not in {room, *ALLOWED[room]} and target != "__version__":
            yield f"{room} imports {target}"
    elif room in PURE and IMPURE_MODULES.match(name):
        yield f"{room} is pure and imports {name}"
    elif room in PURE and HEAVY_MODULES.match(name):
        yield f"{room} is on the way of `repro lock --check` and imports {name}"


def called(node: ast.Call) -> str:
    """Return what is called: `open`, or `.read_text` of anything."""
    if isinstance(node.func, ast.Attribute):
        return "." + node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


def modules() -> list[Path]:
    return sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_what_its_room_may(path: Path) -> None:
    room = room_of(path)
    if room in EVERYTHING:
        return
    assert room in ALLOWED, f"{path} stands in no room of the design"
    assert list(violations(room, path.read_text())) == []


@pytest.mark.parametrize(
    ("room", "source", "fault"),
    [
        ("lock", "import os", "1: lock is pure and imports os"),
        ("lock", "def f():\n    from os import environ", "2: lock is pure and imports os.environ"),
        ("config", "from datetime import datetime\ndatetime.now()", "2: config is pure and calls .now()"),
        ("config", "from pathlib import Path\nPath('a').read_text()", "2: config is pure and calls .read_text()"),
        ("values", "import urllib.request", "1: values is pure and imports urllib.request"),
        ("lock", "import tomlkit", "1: lock is on the way of `repro lock --check` and imports tomlkit"),
        ("lock", "from repro_env.image import tar", "1: lock imports image"),
        ("image", "from repro_env import build", "1: image imports build"),
        ("run", "import repro_env.record.model", "1: run imports record"),
        ("edges", "from repro_env.image.store import Store", "1: edges imports image"),
        ("data", "from repro_env.cli.main import main", "1: data imports cli"),
    ],
)
def test_the_check_finds_a_planted_violation(room: str, source: str, fault: str) -> None:
    assert list(violations(room, source)) == [fault]


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("lock", "import re, hashlib, tomllib\nfrom repro_env.config.model import Project"),
        ("image", "import os\nfrom repro_env.edges import files\nfrom repro_env.lock.model import Wheel"),
        ("run", "from repro_env.run.plan import plan\nimport subprocess"),
        ("values", "from urllib.parse import urlsplit"),
        ("record", "from repro_env import __version__"),
    ],
)
def test_the_check_lets_pass_what_is_allowed(room: str, source: str) -> None:
    assert list(violations(room, source)) == []
