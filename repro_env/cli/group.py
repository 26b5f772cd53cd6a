"""The `repro` command with its subcommands, each imported only when it is asked for."""

from __future__ import annotations

import gc
import importlib
import os
from typing import NoReturn

import click

from repro_env import __version__
from repro_env.errors import ReproError, UsageError

_COMMANDS = {
    "lock": "Pin every step: packages, base, data.",
    "build": "Build each step's image from the lock alone.",
    "verify": "Compare this machine with what the steps need.",
    "exec": "Verify machine and inputs, run a step in its image, record it.",
    "runs": "List the runs of this project, newest first.",
    "show": "Show one run: what ran, from what, what it made, its lineage.",
    "reproduce": "Run again what was run, and compare what it makes.",
    "diff": "Tell what changed between two locks, commits or runs, cause first.",
    "data": "Compare data with the lock, pull it, verify it.",
    "status": "Show what is locked, built, run and stale.",
    "facts": "Print what this machine is: driver, GPUs, host.",
    "demo": "Lock, build and run a small real pipeline.",
}


class _PassedError(BaseException):
    """Carries an interruption or a system's refusal past click, which would print and exit in its own way."""

    def __init__(self, error: KeyboardInterrupt | OSError) -> None:
        super().__init__()
        self.error = error


class _LazyGroup(click.Group):
    """Imports a command's module when that command is asked for, and none for `--help`."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"repro_env.cli.{cmd_name}_command").command
        gc.freeze()  # what was imported stays: only what the command itself makes is ever looked through
        gc.enable()
        return command

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, OSError) as error:
            raise _PassedError(error) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            _refuse_unknown(args[0], ctx)
        return super().resolve_command(ctx, args)


def _refuse_unknown(name: str, ctx: click.Context) -> NoReturn:
    from difflib import get_close_matches  # noqa: PLC0415 - only for a mistake

    near = get_close_matches(name, _COMMANDS, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise click.UsageError(f"there is no command {name!r}{hint}", ctx)


@click.command(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="`repro demo` shows it all on a small pipeline; `repro COMMAND --help` tells all of one command.",
)
@click.version_option(__version__, prog_name="repro")
@click.option("-C", "--directory", default="", metavar="DIR", help="Act as if started in this directory.")
def repro(directory: str) -> None:
    """Reproducible environments for AI pipelines: one lock, one image a step, verified, run and recorded."""
    if directory:
        try:
            os.chdir(directory)
        except OSError as error:
            raise ReproError(f"cannot enter {directory}", error.strerror or str(error)) from error


def run() -> int:
    """Run the command line that this process was started with and return its exit status. Errors: `ReproError`."""
    try:
        status = repro.main(prog_name="repro", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return UsageError.exit_status
    except click.UsageError as error:
        raise UsageError(_as_ours(error.format_message()), hint=_hint(error)) from error
    except click.ClickException as error:
        raise ReproError(error.format_message()) from error
    except _PassedError as passed:
        raise passed.error from None
    except click.Abort as error:
        raise (error.__cause__ or KeyboardInterrupt()) from None
    return status if isinstance(status, int) else 0


def _as_ours(message: str) -> str:
    """Return a message of click's in the form of this program's own: no capital, no full stop."""
    return message[:1].lower() + message[1:].removesuffix(".")


def _hint(error: click.UsageError) -> str:
    path = error.ctx.command_path if error.ctx else "repro"
    if isinstance(error, click.NoSuchOption) and path == "repro exec":
        return f"what is meant for the step's command stands after --: `repro exec STEP -- {error.option_name}`"
    return f"see `{path} --help`"
