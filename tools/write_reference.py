"""Write docs/reference/commands.md from the commands themselves: `make docs`."""

from __future__ import annotations

from pathlib import Path

import click

from repro_env.cli.group import repro

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "commands.md"


def reference() -> str:
    """Return the page."""
    parts = ["# Commands", "", "Written by `make docs` from the commands' own help.", ""]
    top = click.Context(repro, info_name="repro", max_content_width=100, terminal_width=100)
    parts += ["```console", "$ repro --help", repro.get_help(top), "```", ""]
    for name in repro.list_commands(top):
        parts += _pages(repro, name, top, "##")
    return "\n".join(parts)


def _pages(group: click.Group, name: str, above: click.Context, level: str) -> list[str]:
    """Return the part of one command, and those of the commands below it."""
    command = group.get_command(above, name)
    assert command is not None
    context = click.Context(command, info_name=name, parent=above, max_content_width=100, terminal_width=100)
    path = context.command_path
    parts = [f"{level} {path}", "", "```console", f"$ {path} --help", command.get_help(context), "```", ""]
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            parts += _pages(command, below, context, f"{level}#")
    return parts


if __name__ == "__main__":
    PAGE.write_text(reference())
