"""`repro lock`: from what is asked for to what is pinned, and the check that the two still agree."""

from __future__ import annotations

import click


@click.command("lock")
@click.option(
    "--check", is_flag=True, help="Only say whether the lock is up to date; needs neither network nor resolver."
)
@click.option("--upgrade", is_flag=True, help="Let every pin move to the newest that is allowed.")
@click.option("-P", "--upgrade-package", "packages", multiple=True, metavar="NAME", help="Let this package's pin move.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(*, check: bool, upgrade: bool, packages: tuple[str, ...], as_json: bool) -> None:
    """Pin every step's packages, every base and every data input in repro.lock.

    Pins that still satisfy what is asked for are kept; a step that did not change is not resolved again.
    """
    if check:
        _check(as_json=as_json)
    else:
        from repro_env.cli.locking import lock_project  # noqa: PLC0415 - the resolvers, which a check does without

        lock_project(upgrade=upgrade, packages=packages, as_json=as_json)


def _check(*, as_json: bool) -> None:
    from repro_env.cli.project import LOCK_FILE, fresh_lock, open_workspace  # noqa: PLC0415 - not for --help

    lock = fresh_lock(open_workspace())
    if as_json:
        import json  # noqa: PLC0415 - same

        click.echo(json.dumps({"fresh": True, "steps": sorted(lock.steps), "packages": len(lock.wheels)}))
    else:
        steps = "1 step" if len(lock.steps) == 1 else f"{len(lock.steps)} steps"
        click.echo(f"{LOCK_FILE} is up to date: {steps}, {len(lock.wheels)} packages")
