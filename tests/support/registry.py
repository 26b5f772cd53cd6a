"""Debian's `docker-registry` on loopback: plain, with TLS, with a password, or with a token server.

with run_registry(directory) as registry:
    registry.host         "127.0.0.1:PORT"
"""

from __future__ import annotations

import contextlib
import json
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import machine
from recorder import unused_port

USER, PASSWORD = "ada", "s3cret pass"
_HTPASSWD = "ada:$2b$04$abcdefghijklmnopqrstuuoBpIrM0OnplXjsOI8DWYJTHUhJDuUv.\n"
_START_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Registry:
    """A running registry: its address, and the directory that its blobs are in."""

    host: str
    storage: Path


@contextlib.contextmanager
def run_registry(
    directory: Path,
    *,
    password: bool = False,
    tls: tuple[Path, Path] | None = None,
    token: Mapping[str, str] | None = None,
) -> Iterator[Registry]:
    """Run a registry until the block ends; `tls` are its certificate and key, `token` the settings of token auth."""
    machine.require("docker-registry")
    port = unused_port()
    storage = directory / "storage"
    storage.mkdir(parents=True, exist_ok=True)
    settings: dict[str, Any] = {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(storage)}, "delete": {"enabled": True}},
        "http": {"addr": f"127.0.0.1:{port}", "secret": "x"},
    }
    if tls is not None:
        settings["http"]["tls"] = {"certificate": str(tls[0]), "key": str(tls[1])}
    if password:
        (directory / "htpasswd").write_text(_HTPASSWD)
        settings["auth"] = {"htpasswd": {"realm": "test", "path": str(directory / "htpasswd")}}
    if token is not None:
        settings["auth"] = {"token": dict(token)}
    configuration = directory / "config.yml"
    configuration.write_text(json.dumps(settings))  # which is YAML, too
    log = (directory / "registry.log").open("wb")
    with (
        log,
        subprocess.Popen(
            [str(machine.find_program("docker-registry")), "serve", str(configuration)], stdout=log, stderr=log
        ) as process,
    ):
        try:
            _await(f"{'https' if tls else 'http'}://127.0.0.1:{port}/v2/", process, directory / "registry.log")
            yield Registry(f"127.0.0.1:{port}", storage)
        finally:
            process.terminate()


def _await(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    trusting = ssl._create_unverified_context()
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5, context=trusting).close()
        except urllib.error.HTTPError as error:
            error.close()
            return
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise AssertionError(f"the registry did not start: {log.read_text()}")
