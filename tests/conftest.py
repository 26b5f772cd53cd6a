"""What every test can ask for. Helpers to import stand in `tests/support`: `wheelmaker`, `loopback`, `machine`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

_HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(_HERE / "support"))

import machine  # noqa: E402 - needs the path above

from repro_env.edges.files import locked  # noqa: E402 - same
from repro_env.edges.report import Silent  # noqa: E402 - same
from repro_env.image.store import Store  # noqa: E402 - same

_NEEDS = ("network", "docker", "podman", "bwrap", "gpu")


def pytest_configure() -> None:
    """Let podman run as root on machines without systemd, and let nothing of a person's shell change a result."""
    _take_signals_back()
    if os.geteuid() == 0:
        os.environ.setdefault("CONTAINERS_CONF", str(_HERE / "support" / "containers.conf"))
    for name in [name for name in os.environ if name.startswith("REPRO_") and not name.startswith("REPRO_TEST_")]:
        if name != "REPRO_WRITE_GOLDEN":
            del os.environ[name]


def _take_signals_back() -> None:
    """Let the programs that tests start have the signals that `&` of a shell and nohup made this process ignore.

    A handler, unlike that, is not handed down; this process itself goes on ignoring SIGQUIT and SIGHUP.
    """
    for number, handler in {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGQUIT: lambda *_: None,
        signal.SIGHUP: lambda *_: None,
    }.items():
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the tests of one engine follow each other: they count and remove images that all of them see."""
    for item in items:
        engine = next((name for name in ("docker", "podman") if item.get_closest_marker(name)), None)
        if engine and not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(engine))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose machine lacks what its markers name; in CI fail it."""
    for need in _NEEDS:
        if item.get_closest_marker(need):
            machine.require(need)


@pytest.fixture
def requires() -> Callable[..., None]:
    """Skip the test, or fail it in CI, unless these programs are there: `requires("skopeo", "umoci")`."""

    def check(*names: str) -> None:
        for name in names:
            machine.require(name)

    return check


@pytest.fixture(scope="session")
def test_cache() -> Path:
    """Where downloads are kept between runs, shared by clones: `$REPRO_TEST_CACHE`, else in the user's cache."""
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    path = Path(os.environ.get("REPRO_TEST_CACHE") or user / "repro-tests")
    path.mkdir(parents=True, exist_ok=True)
    return path


@pytest.fixture(scope="session")
def shared_store(test_cache: Path) -> Store:
    """One store for all tests that download: a test that counts or damages blobs takes `store` instead."""
    return Store(test_cache / "store")


@pytest.fixture(scope="session")
def download_wheel(test_cache: Path) -> Callable[[str], Path]:
    """Return a function that gives the wheel of `NAME==VERSION` for this interpreter, downloaded once."""

    def download(requirement: str) -> Path:
        machine.require("network")
        folder = test_cache / "wheels" / f"{sys.implementation.cache_tag}-{requirement}"
        with locked(folder.with_name(folder.name + ".lock")):
            if not list(folder.glob("*.whl")):
                pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "download"]
                words = [*pip, "--no-deps", "--only-binary", ":all:", "--dest", str(folder), requirement]
                subprocess.run(words, check=True, timeout=600)
        return next(folder.glob("*.whl"))

    return download


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store of this test's own."""
    return Store(tmp_path / "store")


@pytest.fixture
def silent() -> Silent:
    """A reporter that says nothing."""
    return Silent()


class Recorded(Silent):
    """A reporter that keeps what it was told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def note(self, text: str) -> None:
        """Keep a note."""
        self.notes.append(text)

    def warn(self, text: str) -> None:
        """Keep a warning."""
        self.warnings.append(text)


@pytest.fixture
def recorded() -> Recorded:
    """A reporter whose `notes` and `warnings` can be looked at."""
    return Recorded()


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with the file of that name beside the test: `golden("lock.toml", text)`.

    `make golden` writes the files anew.
    """
    directory = request.path.parent / "files"

    def compare(name: str, text: str) -> None:
        path = directory / name
        if os.environ.get("REPRO_WRITE_GOLDEN"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
        assert text == path.read_text(encoding="utf-8"), f"{path} differs; after a wanted change: make golden"

    return compare


@pytest.fixture(autouse=True)
def _restore_umask() -> Iterator[None]:
    """Let no test leave its umask to the next."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)
