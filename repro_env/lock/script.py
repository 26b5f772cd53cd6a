"""What a script says of itself in its PEP 723 header."""

from __future__ import annotations

import re
from typing import Any

from repro_env.config.document import read_document

_BLOCK = re.compile(r"(?m)^# /// (?P<type>[a-zA-Z0-9-]+)$\s(?P<content>(^#(| .*)$\s)+)^# ///$")


def script_header(text: str) -> dict[str, Any] | None:
    """Return the content of a script's `script` block, or None where it has none.

    Errors: `ValueError` for several such blocks, or one that is not TOML.
    Source: https://packaging.python.org/specifications/inline-script-metadata/ (the pattern is the specification's)
    """
    text = text.replace("\r\n", "\n")
    blocks = [match["content"] for match in _BLOCK.finditer(text) if match["type"] == "script"]
    if not blocks:
        return None
    if len(blocks) > 1:
        raise ValueError("has several # /// script blocks")
    lines = (line[2:] if line.startswith("# ") else line[1:] for line in blocks[0].splitlines(keepends=True))
    return read_document("".join(lines))
