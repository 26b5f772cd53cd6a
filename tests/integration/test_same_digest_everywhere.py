"""Same wheels and code, same digests: whoever builds, wherever, with whatever settings and in whatever order."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from wheelmaker import WheelRecipe, make_wheel

PROGRAM = Path(__file__).parents[1] / "support" / "build_image.py"
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all")


@dataclass(frozen=True, slots=True)
class Setting:
    """What differs from the first build. `project` and `store` are the names of fresh directories."""

    name: str
    env: Mapping[str, str] = field(default_factory=dict)
    umask: int = 0o022
    workers: int = 2
    order: int = 0
    cwd: str = "/"
    prefix: tuple[str, ...] = ()
    store: str = "store"
    project: str = "project"


SETTINGS = [
    Setting("umask 077", umask=0o077),
    Setting("umask 000", umask=0),
    Setting("C locale without UTF-8", {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
    Setting("POSIX locale", {"LC_ALL": "POSIX", "LANG": "tr_TR.ISO-8859-9"}),
    Setting("no locale", {"LANG": "", "LC_ALL": ""}),
    Setting("time zone", {"TZ": "Asia/Kathmandu"}),
    Setting("hash seed", {"PYTHONHASHSEED": "1"}),
    Setting("other hash seed", {"PYTHONHASHSEED": "4242"}),
    Setting("SOURCE_DATE_EPOCH", {"SOURCE_DATE_EPOCH": "1"}),
    Setting("no home", {"HOME": "/nonexistent", "USER": "somebody", "XDG_CACHE_HOME": "/nonexistent"}),
    Setting("one worker", workers=1),
    Setting("eight workers", workers=8),
    Setting("another order", order=1),
    Setting("a third order", order=2, workers=8),
    Setting("another store", store="a b/store with größe"),
    Setting("another directory", project="elsewhere/deep/project"),
    Setting("nobody", prefix=NOBODY, umask=0o077),
]


def make_wheels(directory: Path) -> None:
    """Write wheels whose layers need every feature: large ones that stand alone, a bundle, odd names."""
    content = bytes(range(251)) * 17_000
    for number in range(3):
        files = {f"large{number}/data.bin": content[number:], f"large{number}/__init__.py": b""}
        make_wheel(directory, WheelRecipe(name=f"large{number}", files=files, stored=frozenset(files)))
    for name in ("Beta", "alpha", "gamma.delta", "zeta"):
        module = name.lower().replace(".", "_")
        files = {f"{module}/{text}.py": text.encode() * 50 for text in ("größe", "名前", "a", "Z", "_", "b-c", "b/c")}
        files["shared/__init__.py"] = b"# namespace\n"
        points = {"entry_points.txt": f"[console_scripts]\n{module} = {module}.a:main\n".encode()}
        make_wheel(directory, WheelRecipe(name=name, files=files, extra_info=points))


def make_project(directory: Path) -> None:
    for name, mode in {"train.py": 0o644, "run.sh": 0o755, "pkg/größe.py": 0o600, "pkg/名前.txt": 0o644}.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {name}\n", encoding="utf-8")
        path.chmod(mode)
    (directory / "pkg/link").symlink_to("größe.py")
    (directory / "latest").symlink_to("pkg")
    for left_out in ("build/model", "__pycache__/train.cpython-311.pyc", ".git/config"):
        (directory / left_out).parent.mkdir()
        (directory / left_out).write_bytes(os.urandom(10))


def build(root: Path, setting: Setting) -> str:
    """Build in a process of its own, below a directory that anybody may write to, and return both digests."""
    place = root / setting.name.replace(" ", "-")
    for directory in (place, (place / setting.store).parent, (place / setting.project).parent):
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o777)
    project = place / setting.project
    make_project(project)
    if setting.prefix:
        shutil.chown(project / "pkg/größe.py", 65534)
    env = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": "/root", **setting.env}
    env["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    words = [*setting.prefix, sys.executable, "-B", str(PROGRAM), str(place / setting.store), str(root / "wheels")]
    words += [str(project), str(setting.workers), str(setting.order)]
    done = subprocess.run(
        words, env=env, cwd=setting.cwd, umask=setting.umask, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    """A directory that others can enter, with the wheels in it; pytest's own ones are closed to them."""
    with tempfile.TemporaryDirectory(prefix="repro-everywhere-") as name:
        root = Path(name)
        root.chmod(0o755)
        (root / "wheels").mkdir()
        make_wheels(root / "wheels")
        yield root


@pytest.fixture(scope="module")
def first(root: Path) -> str:
    digests = build(root, Setting("first"))
    assert digests.count("sha256:") == 2
    return digests


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_the_digest_is_the_same(setting: Setting, root: Path, first: str, requires: Callable[..., None]) -> None:
    if setting.prefix:
        if os.geteuid() != 0:
            pytest.skip("only root can become another user")
        requires("setpriv")
        probe = subprocess.run([*NOBODY, sys.executable, "-c", "import encodings"], capture_output=True, check=False)
        if probe.returncode != 0:
            pytest.skip("this Python stands where no other user may enter")
    assert build(root, setting) == first


def test_another_file_is_another_digest(root: Path, first: str) -> None:
    """Two builds that agree show nothing if all builds agree."""
    setting = Setting("another-file")
    project = root / "another-file" / "project"
    project.mkdir(parents=True)
    (project / "more.py").write_bytes(b"")
    environment, step = build(root, setting).split()
    assert environment == first.split(maxsplit=1)[0]
    assert step != first.split()[1]
