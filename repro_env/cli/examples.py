"""Commands whose help ends with what a person may type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

_WIDEST = 58
"""Characters of a line to be typed, beyond which what it does stands below it."""


class WithExamples(click.Command):
    """A command with examples: each a line to be typed, and what it does."""

    def __init__(self, *arguments: Any, examples: Sequence[tuple[str, str]] = (), **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.examples = examples

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples below the options."""
        super().format_epilog(ctx, formatter)
        if self.examples:
            with formatter.section("Examples"):
                formatter.write_dl(self.examples, col_max=_WIDEST)
