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
        command = repro.get_command(top, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=top, max_content_width=100, terminal_width=100)
        parts += [f"## repro {name}", "", "```console", f"$ repro {name} --help", command.get_help(context), "```", ""]
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(reference())
