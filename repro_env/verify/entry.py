"""The entry point of step images: verifies the machine, then becomes the step's command.

`enter.py COMMAND [ARGUMENT...]` reads what the step needs from `needs.json` beside its directory. Where the machine is
not that, it says so and the command is not started. It speaks through standard error and its exit status, and writes
nothing but the file that `REPRO_FINDINGS` names. The command is the same process: it has its number, its signals and
its streams, and its exit status is its own.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from repro_env.verify.collect import collect
from repro_env.verify.findings import NAMES, paragraphs
from repro_env.verify.needs import Needs, check
from repro_env.verify.report import ENFORCE, OFF, WARN, Verification, rows
from repro_env.verify.start import MODE, say

if TYPE_CHECKING:
    from typing import NoReturn

ALLOW, FINDINGS = "REPRO_ALLOW", "REPRO_FINDINGS"
"""The other variables that are for this program. The command sees none of them."""

_VERBOSE = "verbose"
_MODES = {"": ENFORCE, ENFORCE: ENFORCE, _VERBOSE: ENFORCE, WARN: WARN, OFF: OFF}
_OUTPUT = "/repro/output"

# As `errors.ReproError.exec_status` has them.
USAGE, BROKEN, MISMATCH, NOT_STARTED = 120, 121, 122, 123


class EntryError(Exception):
    """Why the command is not started, and with which status this program exits instead."""

    def __init__(self, status: int, what: str, why: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.status, self.what, self.why, self.hint = status, what, why, hint


def main(argv: Sequence[str], environ: MutableMapping[str, str]) -> NoReturn:
    """Verify, and become the command `argv`, whose environment `environ` is; or exit with a status of 120 to 125."""
    try:
        verification = _verify(argv, environ)
        _tell(verification, verbose=environ.get(MODE) == _VERBOSE)
        _write(verification, environ, started=verification.starts)
        if verification.starts:
            _become(argv, verification, environ)
    except EntryError as error:
        say("error", error.what, error.why, error.hint)
        sys.exit(error.status)
    sys.exit(MISMATCH)


def _verify(argv: Sequence[str], environ: Mapping[str, str]) -> Verification:
    """Return what comes of this machine. Errors: `EntryError`."""
    if not argv:
        raise EntryError(USAGE, "there is no command to start", hint="give one after the image's name")
    chosen = environ.get(MODE, "")
    if chosen not in _MODES:
        raise EntryError(USAGE, f"{MODE} is {chosen!r}", "it may be enforce, verbose, warn or off, or not set")
    mode, allowed = _MODES[chosen], _allowed(environ)
    if mode == OFF:
        return Verification(mode=mode, allowed=allowed)
    needs = _read_needs()
    project = _OUTPUT if os.path.isdir(_OUTPUT) else "."
    facts = collect(Path(project), environ, gpus=needs.gpu is not None)
    return Verification(mode=mode, needs=needs, facts=facts, findings=check(needs, facts), allowed=allowed)


def _allowed(environ: Mapping[str, str]) -> frozenset[str]:
    names = frozenset(name.strip() for name in environ.get(ALLOW, "").split(",") if name.strip())
    wrong = sorted(names.difference(NAMES))
    if wrong:
        raise EntryError(USAGE, f"{ALLOW}={wrong[0]}: there is no such check", f"the checks are {', '.join(NAMES)}")
    return names


def _read_needs() -> Needs:
    path = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(sys.argv[0]))), "needs.json")
    try:
        with open(path, encoding="utf-8") as stream:
            return Needs.from_dict(json.load(stream))
    except (OSError, ValueError, RecursionError) as error:
        hint = f"build the image again with `repro build`; to start the command unverified: {MODE}=off"
        raise EntryError(BROKEN, f"{path} does not say what the step needs", str(error), hint) from error


def _tell(verification: Verification, *, verbose: bool) -> None:
    """Say what is not met, and with `verbose` everything."""
    if verification.mode == OFF:
        say("warning", f"{MODE}=off: whether this machine is what the step needs was not looked at")
        return
    assert verification.needs is not None, "it is looked at"
    step = verification.needs.step
    if verbose:
        say("note", f"step {step} on this machine", "\n".join(rows(verification.findings, verification.allowed)))
    if verification.waived:
        what = f"step {step} goes on although this machine is not what it needs"
        say("warning", what, paragraphs(verification.waived))
    if verification.refused and verification.mode == WARN:
        what = f"{MODE}=warn: step {step} goes on although this machine is not what it needs"
        say("warning", what, paragraphs(verification.refused))
    elif verification.refused:
        names = ",".join(dict.fromkeys(finding.name for finding in verification.refused))
        hint = f"to go on all the same: {ALLOW}={names} in the container's environment, --allow with `repro exec`"
        say("error", f"this machine is not what step {step} needs", paragraphs(verification.refused), hint)


def _write(verification: Verification, environ: Mapping[str, str], *, started: bool) -> None:
    path = environ.get(FINDINGS)
    if not path:
        return
    try:
        with open(path, "w", encoding="utf-8") as stream:
            json.dump(verification.to_dict(started=started), stream, indent=2)
            stream.write("\n")
    except OSError as error:
        say("warning", f"the findings cannot be written to {path}", error.strerror or str(error))


def _become(argv: Sequence[str], verification: Verification, environ: MutableMapping[str, str]) -> NoReturn:
    """Replace this process with the command. Errors: `EntryError` where it cannot be started."""
    # Python turns these off for itself, and what it starts would inherit that.
    for name in ("SIGPIPE", "SIGXFSZ"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    try:
        os.execvpe(argv[0], list(argv), _own_environment(environ))  # noqa: S606 - that is what this program is for
    except (OSError, ValueError) as error:
        _write(verification, environ, started=False)
        why = getattr(error, "strerror", None) or str(error)
        hint = "see whether the step's environment has that command"
        raise EntryError(NOT_STARTED, f"{argv[0]} cannot be started", why, hint) from error


def _own_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment as it came, without what is for this program.

    An interpreter in the locale C sets LC_CTYPE for what it starts (PEP 538): what was not there before goes.
    """
    mine = {MODE, ALLOW, FINDINGS}
    if "LC_CTYPE" in environ and not _came_with("LC_CTYPE"):
        mine.add("LC_CTYPE")
    return {name: value for name, value in environ.items() if name not in mine}


def _came_with(name: str) -> bool:
    """Whether this process was started with a variable. Source: proc(5), `/proc/pid/environ`."""
    try:
        with open("/proc/self/environ", "rb") as stream:
            return any(entry.startswith(os.fsencode(name) + b"=") for entry in stream.read().split(b"\0"))
    except OSError:
        return True
