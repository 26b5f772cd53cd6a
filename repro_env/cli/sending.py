"""`repro runs --send`: what trackers could not be told when it happened."""

from __future__ import annotations

import json

import click

from repro_env.cli.project import open_workspace
from repro_env.cli.tracking import Tracker
from repro_env.errors import FetchError

_VERSION = 1


def send_waiting(*, as_json: bool) -> None:
    """Send what is waiting, and say how much was. Errors: `FetchError` with why the rest was not."""
    workspace = open_workspace()
    tracker = Tracker(workspace.project.exports, workspace.root, lambda text: click.echo(f"warning: {text}", err=True))
    before = tracker.waiting()
    failed = tracker.deliver(again=True)
    left = tracker.waiting()
    if as_json:
        click.echo(json.dumps({"version": _VERSION, "sent": before - left, "waiting": left}, indent=2))
    else:
        click.echo(f"sent {before - left} of {before}" if before else "nothing is waiting to be sent")
    if failed:
        why = "\n".join(f"{kind}: {error.what}" for kind, error in failed.items())
        raise FetchError("not every tool could be told", why, "what is left is kept, and tried again at the next run")
