"""Sources are found by kind: this program's own, and those of other installed packages."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from repro_env.config.model import Data
from repro_env.data.sources.base import GROUP, Context
from repro_env.data.sources.find import BUILT_IN, find_source, known_kinds
from repro_env.data.sources.words import needs
from repro_env.edges.report import Silent
from repro_env.errors import ConfigError, FetchError

ROOT = Path(__file__).resolve().parents[2]

OTHERS = """
from repro_env.data.sources.base import Resolved

class Mine:
    def __init__(self, context):
        self.context = context
    def resolve(self, request):
        return Resolved(request=request, revision="7")
def make(context):
    return Mine(context)
"""


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(root=tmp_path, cache=tmp_path / "cache", environ={}, report=Silent())


def test_the_sources_of_this_program_are_its_entry_points() -> None:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert document["project"]["entry-points"][GROUP] == BUILT_IN


@pytest.mark.parametrize("kind", sorted({"path", "file", "https", "hf", "git", "dvc", "s3"}))
def test_each_can_be_made_without_a_network(kind: str, context: Context) -> None:
    assert find_source(kind, context) is not None


def test_another_packages_source_is_found(context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (tmp_path / "theirs.py").write_text(OTHERS)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\nmystore = theirs:make\nbroken = theirs:nothing\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "mystore" in known_kinds()
    assert find_source("mystore", context).__class__.__name__ == "Mine"
    with pytest.raises(ConfigError, match="cannot be loaded") as error:
        find_source("broken", context)
    assert "theirs" in error.value.why


def test_a_kind_that_nobody_knows_is_refused_with_the_nearest(context: Context) -> None:
    with pytest.raises(ConfigError, match="no data source 'gti'") as error:
        find_source("gti", context)
    assert "did you mean 'git'?" in error.value.hint
    assert "s3" in error.value.why


def test_an_extra_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:

    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(FetchError, match="s3fs") as error:
        needs("s3fs", "s3")
    assert "repro-env[s3]" in error.value.hint


@pytest.mark.parametrize(
    ("keys", "kind"),
    [
        ({"path": "a"}, "path"),
        ({"path": "a.dvc"}, "dvc"),
        ({"uri": "s3://b/a"}, "s3"),
        ({"uri": "git+https://h/r.git"}, "git"),
        ({"uri": "delta+s3://b/t"}, "delta"),
        ({"uri": "HTTPS://h/a"}, "https"),
        ({"uri": "s3://b/t", "source": "delta"}, "delta"),
        ({"query": "select 1", "connection": "DB"}, "sql"),
    ],
)
def test_the_kind_follows_from_the_address(keys: dict[str, str], kind: str) -> None:
    assert Data(name="raw", **keys).kind == kind  # type: ignore[arg-type]


def test_checking_a_lock_imports_no_source() -> None:
    code = (
        "import sys; import repro_env.lock.drift, repro_env.lock.parse, repro_env.config.read;"
        "print([name for name in sys.modules if name.startswith('repro_env.data') or name == 'importlib.metadata'])"
    )
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stderr
