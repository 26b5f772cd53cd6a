"""Debian's `docker-registry` on loopback, for as long as a benchmark needs one."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def registry(directory: Path) -> Iterator[str | None]:
    """Run a registry and give its address, or None where there is none to run."""
    program = shutil.which("docker-registry")
    if program is None:
        yield None
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(directory / "storage")}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    configuration = directory / "config.yml"
    configuration.write_text(json.dumps(settings))
    quiet = subprocess.DEVNULL
    with subprocess.Popen((program, "serve", str(configuration)), stdout=quiet, stderr=quiet) as process:
        try:
            _await(f"http://127.0.0.1:{port}/v2/")
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()


def _await(url: str) -> None:
    for _ in range(200):
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            urllib.request.urlopen(url, timeout=1).close()
            return
        time.sleep(0.05)
    raise SystemExit("the registry does not start")
