"""`repro lock`: from what is asked for to what is pinned, and the check that the two still agree."""

from __future__ import annotations

import click


@click.command("lock")
@click.option(
    "--check", is_flag=True, help="Only say whether the lock is up to date; needs neither network nor resolver."
)
@click.option("--upgrade", is_flag=True, help="Let every pin move to the newest that is allowed.")
@click.option("-P", "--upgrade-package", "packages", multiple=True, metavar="NAME", help="Let this package's pin move.")
@click.option("-D", "--upgrade-data", "data", multiple=True, metavar="NAME", help="Ask this data's source anew.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(*, check: bool, upgrade: bool, packages: tuple[str, ...], data: tuple[str, ...], as_json: bool) -> None:
    """Pin every step's packages, every base and every data input in repro.lock.

    Pins that still satisfy what is asked for are kept; a step that did not change is not resolved again.
    """
    if check:
        from repro_env.cli.lock_check import check_lock  # noqa: PLC0415 - not for --help

        click.echo(check_lock(as_json=as_json))
    else:
        from repro_env.cli.locking import lock_project  # noqa: PLC0415 - the resolvers, which a check does without

        lock_project(upgrade=upgrade, packages=packages, data=data, as_json=as_json)
