"""Where the uv program is."""

from __future__ import annotations

import threading

from repro_env.errors import ToolError

_LOOKING = threading.Lock()
"""Steps are resolved in threads, and `sysconfig`, which uv asks, is not ready for two that are the first to ask it."""


def uv_program() -> str:
    """Return the path of uv's program. Errors: `ToolError` when the `uv` package is not installed."""
    try:
        import uv  # noqa: PLC0415 - only resolving and building packages need it

        with _LOOKING:
            return uv.find_uv_bin()
    except (ImportError, FileNotFoundError) as error:
        raise ToolError("uv is not installed", str(error), "install repro-env again: it depends on uv") from error
