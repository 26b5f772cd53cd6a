"""Colours on a terminal, for those who want them."""

from __future__ import annotations

import os
from typing import Any

import click


def styled(text: str, **style: Any) -> str:
    """Return a text in `click.style`'s style, or as it is where `NO_COLOR` is set. Source: https://no-color.org."""
    return text if os.environ.get("NO_COLOR") else click.style(text, **style)
