"""A pipeline whose packages come from a server on loopback: small, whole, and built in about a second.

    with serve(directory) as server:
        project = make_pipeline(directory, server.url)
        project.repro("build")

Its base is of Debian packages made here and its wheels are, too; so every file that a build downloads, reads and makes
can be damaged, withheld or counted.
"""

from __future__ import annotations

import functools
import json
import os
import random
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import machine
from debmaker import Entry, Made, make_deb, make_library
from loopback import write_simple_index
from projects import PYTHON, Answer, OnDisk
from wheelmaker import WheelRecipe, make_wheel

from repro_env.image.store import Store
from repro_env.lock.dump import dump_lock
from repro_env.lock.model import DebianPackage, DebianRoot, Environment, Lock, Wheel
from repro_env.lock.parse import parse_lock
from repro_env.values import Digest, Platform, normalise_name

TEXT = f"""\
[project]
name = "robust"

[base.slim]
debian = "bookworm"

[data.raw]
path = "raw.csv"

[step.clean]
base = "slim"
python = "{PYTHON}"
command = ["sh", "clean.sh", "{{data.raw}}", "{{output.table}}"]
dependencies = ["small", "large"]
inputs = ["raw"]
outputs = {{ table = "build/table.csv" }}
code = ["clean.sh"]

[step.count]
base = "slim"
python = "{PYTHON}"
command = ["sh", "count.sh"]
dependencies = ["small<2"]
inputs = ["clean.table"]
outputs = {{ number = "build/number.txt" }}
code = ["count.sh"]
"""

CLEAN = """\
echo cleaning
sleep "$(cat "$1")"
cat "$1" > "$2"
"""

COUNT = 'cat "$REPRO_INPUT_CLEAN_TABLE" > "$REPRO_OUTPUT_NUMBER"\n'

BUSYBOX = Path("/bin/busybox")
"""A static program that is a whole system: with it, the image runs in bwrap."""

WHEELS = ("small-1.0-py3-none-any.whl", "small-2.0-py3-none-any.whl", "large-1.0-py3-none-any.whl")

PLATFORM = Platform("amd64")
SERVED = "served"


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The project, its store, and the process to run it in."""

    disk: OnDisk

    @property
    def root(self) -> Path:
        return self.disk.root

    @property
    def store(self) -> Path:
        return Path(self.disk.env["REPRO_STORE"])

    @property
    def lock(self) -> Lock:
        return parse_lock((self.root / "repro.lock").read_text(), file="repro.lock")

    def repro(self, *words: str) -> Answer:
        """Run `repro` to its end."""
        return self.disk.repro(*words)

    def repro_as_anyone(self, *words: str) -> Answer:
        """Run `repro` without root's right to read and write whatever it likes."""
        if os.geteuid() != 0:
            return self.disk.repro(*words)
        machine.require("setpriv")
        rights = "-dac_override,-dac_read_search"
        return self.disk.repro(*words, before=("setpriv", f"--bounding-set={rights}", f"--inh-caps={rights}"))

    def start(self, *words: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start `repro` in a session of its own, as a shell does for a job, and return the process."""
        return subprocess.Popen(
            [sys.executable, "-m", "repro_env", *words],
            cwd=self.root,
            env={**os.environ, "NO_COLOR": "1", **self.disk.env, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def with_store(self, store: Path) -> Pipeline:
        """Return the same project working in another store."""
        return Pipeline(replace(self.disk, env={**self.disk.env, "REPRO_STORE": str(store)}))

    def forget_images(self) -> None:
        """Let the lock record no image, as on the machine where it was made."""
        steps = {
            name: replace(
                step,
                environments={on: replace(one, image=None) for on, one in step.environments.items()},
            )
            for name, step in self.lock.steps.items()
        }
        self.disk.write("repro.lock", dump_lock(replace(self.lock, steps=steps)))


def make_pipeline(directory: Path, url: str) -> Pipeline:
    """Make and lock the project below `directory`, which `url` serves; nothing is in its store."""
    served = directory / SERVED
    for name, content in _files().items():
        (served / name).parent.mkdir(parents=True, exist_ok=True)
        (served / name).write_bytes(content)
    env = {"REPRO_STORE": str(directory / "store"), "UV_INDEX_URL": f"{url}/{SERVED}/simple"}
    disk = OnDisk(directory / "robust", env)
    disk.write("repro.toml", TEXT)
    disk.write("raw.csv", "0")
    disk.write("clean.sh", CLEAN)
    disk.write("count.sh", COUNT)
    lock = disk.lock()
    small1, small2, large = (_pinned(served / "files" / name, url) for name in WHEELS)
    chosen = {"clean": (large, small2), "count": (small1,)}
    root = DebianRoot(
        glibc="2.36",
        python=f"{PYTHON}.2",
        sources=(),
        packages=tuple(sorted((_deb(deb, url) for deb in _debs()), key=lambda one: one.name)),
    )
    steps = {
        name: replace(step, environments={PLATFORM: Environment(interpreter=root.python, wheels=chosen[name])})
        for name, step in lock.steps.items()
    }
    bases = {name: replace(base, roots={PLATFORM: root}) for name, base in lock.bases.items()}
    disk.write("repro.lock", dump_lock(replace(lock, steps=steps, bases=bases)))
    return Pipeline(disk)


@functools.cache
def _files() -> Mapping[str, bytes]:
    """Return what the server has, by path: an index of wheels, and Debian packages. Made once a process."""
    with tempfile.TemporaryDirectory() as name:
        served = Path(name)
        wheels = [_small(served, "1.0"), _small(served, "2.0"), _large(served)]
        write_simple_index(served, wheels)
        for deb in _debs():
            (served / deb.pool).parent.mkdir(parents=True, exist_ok=True)
            (served / deb.pool).write_bytes(deb.data)
        return {str(path.relative_to(served)): path.read_bytes() for path in served.rglob("*") if path.is_file()}


def _small(served: Path, version: str) -> Path:
    files = {f"small/m{number}.py": b"x = 1\n" * 50 for number in range(200)}
    files["small/__init__.py"] = f'__version__ = "{version}"\n'.encode()
    return make_wheel(served, WheelRecipe(name="small", version=version, files=files))


def _large(served: Path) -> Path:
    """Make a wheel above the threshold from which wheels stand alone in a layer."""
    noise = random.Random(7)
    files = {f"large/data{number}.bin": noise.randbytes(1 << 20) for number in range(6)}
    return make_wheel(served, WheelRecipe(name="large", files={"large/__init__.py": b"", **files}))


@functools.cache
def _debs() -> Sequence[Made]:
    library = {"usr/lib/x86_64-linux-gnu/libx.so.1": make_library("libx.so.1") + bytes(1 << 20)}
    documents = {f"usr/share/doc/base/{number}.txt": b"words\n" * 20 for number in range(300)}
    release = {"etc/os-release": b'ID=debian\nVERSION_ID="12"\n'}
    return [
        make_deb("base-files", "12.4", files={**release, **documents}),
        make_deb("libx1", files=library),
        *([make_deb("system", files=_system())] if BUSYBOX.exists() else []),
    ]


def _system() -> Mapping[str, bytes | Entry]:
    links = {f"usr/bin/{name}": Entry(kind=tarfile.SYMTYPE, link="busybox") for name in ("sh", "cat", "sleep", "env")}
    return {"usr/bin/busybox": Entry(content=BUSYBOX.read_bytes(), mode=0o755), **links}


def _pinned(path: Path, url: str) -> Wheel:
    data = path.read_bytes()
    name, version = path.name.split("-")[:2]
    return Wheel(
        name=normalise_name(name),
        version=version,
        file=path.name,
        url=f"{url}/{SERVED}/files/{path.name}",
        sha256=Digest.of(data),
        size=len(data),
    )


def _deb(made: Made, url: str) -> DebianPackage:
    return replace(made.pin(), url=f"{url}/{SERVED}/{made.pool}")


def faults_of(store: Path) -> list[str]:
    """Return what is wrong with a store at rest: blobs that are not their names, documents that cannot be read."""
    opened = Store(store)
    blobs = [blob.name for blob in opened.blobs.iterdir() if Digest.of(blob.read_bytes()).hex != blob.name]
    documents = [store / "index.json", store / "oci-layout", *(store / "derived").rglob("*.json")]
    return [
        *(f"blob {name} holds other bytes" for name in blobs),
        *(f"{document.relative_to(store)} is no JSON" for document in documents if not _is_json(document)),
        *(f"{name} has no manifest" for name, digest in opened.references().items() if not opened.has(digest)),
    ]


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_bytes())
    except ValueError:
        return False
    return True


def kill(process: subprocess.Popen[bytes], number: int = signal.SIGKILL) -> None:
    """Send a signal to a process that may have ended."""
    if process.poll() is None:
        process.send_signal(number)


def processes_of(session: int) -> list[int]:
    """Return the processes of a session that still live; zombies that nobody waits for do not."""
    found = []
    for directory in Path("/proc").iterdir():
        if directory.name.isdecimal():
            try:
                state, _parent, _group, number = (directory / "stat").read_text().rpartition(")")[2].split()[:4]
            except OSError:
                continue
            if int(number) == session and state != "Z":
                found.append(int(directory.name))
    return found


def left_by(session: int, *, patience: float = 20) -> list[int]:
    """Return the processes that a command left running for good: what watches over a step ends it a moment later."""
    end = time.monotonic() + patience
    while (left := processes_of(session)) and time.monotonic() < end:
        time.sleep(0.02)
    return left
