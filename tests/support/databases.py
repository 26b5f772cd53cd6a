"""A PostgreSQL of one's own, for as long as a test takes."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PASSWORD = "s3cr3t/with:odd@letters"
ESCAPED = "s3cr3t%2Fwith%3Aodd%40letters"


@dataclass(frozen=True, slots=True, kw_only=True)
class Postgres:
    """A server on loopback, with one user that has a password."""

    port: int
    programs: Path

    def url(self, password: str = ESCAPED) -> str:
        return f"postgresql://owner:{password}@127.0.0.1:{self.port}/postgres"

    def run(self, *statements: str) -> None:
        words = [arg for statement in statements for arg in ("--command", statement)]
        self._psql(*words)

    def _psql(self, *words: str) -> None:
        where = ["--host=127.0.0.1", f"--port={self.port}", "--username=owner", "--dbname=postgres"]
        own = {**os.environ, "PGPASSWORD": PASSWORD, "PGOPTIONS": "--client-min-messages=warning"}
        options = ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"]
        subprocess.run([self.programs / "psql", *where, *options, *words], env=own, check=True, capture_output=True)


def programs() -> Path | None:
    """Where PostgreSQL's own programs are: Debian has them apart from PATH."""
    found = [path.parent for path in sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))]
    other = shutil.which("initdb")
    return found[-1] if found else Path(other).resolve().parent if other else None


@contextlib.contextmanager
def postgres() -> Iterator[Postgres]:
    """Run a server in a temporary directory; it refuses to be root's, so root runs it as somebody else."""
    where = programs()
    assert where is not None
    own: dict[str, Any] = {}
    home = Path(tempfile.mkdtemp(prefix="pg"))
    try:
        if os.geteuid() == 0:
            somebody = pwd.getpwnam("nobody")
            os.chown(home, somebody.pw_uid, somebody.pw_gid)
            own = {"user": somebody.pw_uid, "group": somebody.pw_gid, "extra_groups": []}
        yield from _serve(where, home, own)
    finally:
        shutil.rmtree(home)


def _serve(where: Path, home: Path, own: dict[str, Any]) -> Iterator[Postgres]:
    def run(*words: str | Path) -> None:
        with (home / "out").open("ab") as out:
            done = subprocess.run(words, cwd=home, stdout=out, stderr=out, stdin=subprocess.DEVNULL, check=False, **own)
        assert done.returncode == 0, (home / "out").read_text() + "".join(map(Path.read_text, home.glob("log")))

    (home / "password").write_text(PASSWORD)
    (home / "password").chmod(0o644)
    run(
        where / "initdb",
        f"--pgdata={home}/data",
        "--username=owner",
        f"--pwfile={home}/password",
        "--auth=scram-sha-256",
        "--locale=C.UTF-8",
        "--encoding=UTF8",
        "--no-sync",
    )
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = f"-c fsync=off -c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={home}"
    control: list[str | Path] = [where / "pg_ctl", f"--pgdata={home}/data", "--wait"]
    run(*control, f"--log={home}/log", f"--options={options}", "start")
    try:
        yield Postgres(port=port, programs=where)
    finally:
        run(*control, "--mode=immediate", "stop")
