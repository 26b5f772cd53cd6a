"""`repro lock`: from what is asked for to what is pinned, and the check that the two still agree."""

from __future__ import annotations

import click

from repro_env.cli.examples import WithExamples

_EXAMPLES = (
    ("repro lock", "after repro.toml or a requirements file was edited"),
    ("repro lock -P torch", "a newer torch, and all else as it is"),
    ("repro lock --check", "in CI and hooks; exits with 4 if repro.lock is out of date"),
)


@click.command("lock", cls=WithExamples, examples=_EXAMPLES)
@click.option(
    "--check", is_flag=True, help="Only say whether the lock is up to date; needs neither network nor resolver."
)
@click.option("--upgrade", is_flag=True, help="Let every pin move to the newest that is allowed.")
@click.option(
    "-P",
    "--upgrade-package",
    "packages",
    multiple=True,
    metavar="NAME",
    help="Let this package's pin move. May be given again.",
)
@click.option(
    "-D",
    "--upgrade-data",
    "data",
    multiple=True,
    metavar="NAME",
    help="Pin this data as its source has it now. May be given again.",
)
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
