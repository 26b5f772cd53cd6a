"""`repro data`: what data is and is to be, had from where it comes from."""

from __future__ import annotations

import click

_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


@click.group("data", no_args_is_help=True)
def command() -> None:
    """Compare data with what the lock pins, pull it, verify it, and tell what changed between two locks."""


@command.command("status")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@_JSON
def status(*, names: tuple[str, ...], as_json: bool) -> None:
    """Show what differs from the lock, file by file.

    Files that did not change since they were last read are not read again. Nothing is asked of any source.
    """
    from repro_env.cli.data_text import show_status  # noqa: PLC0415 - what --help does without

    show_status(names, as_json=as_json)


@command.command("pull")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--force", is_flag=True, help="Replace files in its place that are not what the lock pins.")
@_JSON
def pull(*, names: tuple[str, ...], force: bool, as_json: bool) -> None:
    """Fetch pinned data into the store and put it in its place.

    What broke off goes on where it stopped, every file is checked, and only data that is whole takes its place.
    """
    from repro_env.cli.data_text import pull_data  # noqa: PLC0415 - what --help does without

    pull_data(names, force=force, as_json=as_json)


@command.command("verify")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@_JSON
def verify(*, names: tuple[str, ...], as_json: bool) -> None:
    """Read all of the data and compare it with the lock.

    `repro exec` trusts the size, times and inode of files that it read before; this trusts nothing.
    """
    from repro_env.cli.data_text import verify_data  # noqa: PLC0415 - what --help does without

    verify_data(names, as_json=as_json)


@command.command("diff")
@click.argument("sides", nargs=-1, metavar="[A] [B]")
@_JSON
def diff(*, sides: tuple[str, ...], as_json: bool) -> None:
    """Tell what changed in the data between two locks, file by file.

    That takes the manifests of both, which are kept where the data was locked or pulled. A and B are commits, runs or
    files, as `repro diff` takes them; B is the project's repro.lock if left out, and A that of the last commit.
    """
    from repro_env.cli.data_text import show_diff  # noqa: PLC0415 - what --help does without

    show_diff(sides, as_json=as_json)
