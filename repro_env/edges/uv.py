"""Where the uv program is."""

from __future__ import annotations

from repro_env.errors import ToolError


def uv_program() -> str:
    """Return the path of uv's program. Errors: `ToolError` when the `uv` package is not installed."""
    try:
        import uv  # noqa: PLC0415 - only resolving and building packages need it

        return uv.find_uv_bin()
    except (ImportError, FileNotFoundError) as error:
        raise ToolError("uv is not installed", str(error), "install repro-env again: it depends on uv") from error
