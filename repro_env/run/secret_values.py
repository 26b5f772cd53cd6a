"""Secrets on their way from the caller's environment to a step's command, and to nowhere else."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace

from repro_env.errors import VerificationError
from repro_env.lock.places import ENVIRONMENT
from repro_env.run.plan import RunPlan

_TAKE = """\
import os, signal, sys
for name in "SIGINT", "SIGPIPE", "SIGXFSZ":
    signal.signal(getattr(signal, name), signal.SIG_DFL)
def fail(why, status):
    os.write(2, f"error: {sys.argv[1]} cannot be started\\n  {why}\\n".encode("utf-8", "backslashreplace"))
    os._exit(status)
def take(size):
    data = b""
    while len(data) < size:
        more = os.read(0, size - len(data))
        if not more:
            fail("its secrets did not arrive", 125)
        data += more
    return data
with open("/proc/self/environ", "rb") as stream:
    entries = (stream.read() + b"\\0" + take(int.from_bytes(take(8), "big"))).split(b"\\0")
try:
    os.execvpe(sys.argv[1], sys.argv[1:], dict(entry.split(b"=", 1) for entry in entries if b"=" in entry))
except OSError as error:
    fail(error.strerror, 123)
"""
"""What takes secrets from the beginning of standard input and becomes the command.

An engine writes a container's declared environment to its disk, and shows it to everyone who may ask. What Python turns
off for itself (signals) or sets (LC_CTYPE, PEP 538) is as it was for the command. The statuses are those of
`verify.entry`.
"""


def secret_values(step: str, names: Sequence[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the secrets of a step from the caller's environment. Errors: `VerificationError` names all that lack."""
    lacking = [f"{name} is {'empty' if name in environ else 'not set'}" for name in names if not environ.get(name)]
    if lacking:
        raise VerificationError(
            f"step {step} needs secrets that whoever runs it does not have",
            "\n".join(lacking),
            "set them in the environment that repro is started in",
        )
    return {name: environ[name] for name in names}


def handed(plan: RunPlan) -> tuple[RunPlan, bytes]:
    """Return a plan for a container engine, and what the container's standard input has to begin with.

    The command of a plan with secrets is started by a program that reads them there, with the Python that every image
    of a step has.
    """
    if not plan.secrets:
        return plan, b""
    entries = b"".join(os.fsencode(f"{name}={value}") + b"\0" for name, value in plan.secrets.items())
    argv = (f"{ENVIRONMENT}/bin/python", "-I", "-S", "-c", _TAKE, *plan.argv)
    return replace(plan, argv=argv), len(entries).to_bytes(8, "big") + entries
