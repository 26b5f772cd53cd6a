"""Where the Pythons that steps bring along are published, and the mirror that a user may have set for them.

A mirror stands for the publisher's `releases/download`, as uv has it: `UV_PYTHON_INSTALL_MIRROR`, or uv's setting
`python-install-mirror`. `REPRO_PYTHON_MIRROR` goes before both.
Source: https://docs.astral.sh/uv/reference/environment/#uv_python_install_mirror
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from repro_env.edges.indexes import configured_text

PUBLISHERS = (
    "https://releases.astral.sh/github/python-build-standalone/releases/download/",
    "https://github.com/astral-sh/python-build-standalone/releases/download/",
)
"""Places with the same content; which of them uv names has changed between its versions."""


def python_mirror(project: Path, environ: Mapping[str, str]) -> str:
    """Return the mirror's URL, which may hold credentials, or "" where none is set. `project` is an absolute path."""
    named = environ.get("REPRO_PYTHON_MIRROR") or environ.get("UV_PYTHON_INSTALL_MIRROR")
    return named or configured_text("python-install-mirror", project, environ)


def release_urls(url: str, mirror: str) -> tuple[str, ...]:
    """Return where an archive may be had, the best place first: the mirror, `url` itself, the other publishers."""
    name = path_in_releases(url)
    if not name:
        return (url,)
    mirrored = (f"{mirror.rstrip('/')}/{name}",) if mirror else ()
    return tuple(dict.fromkeys((*mirrored, url, *(f"{place}{name}" for place in PUBLISHERS))))


def path_in_releases(url: str) -> str:
    """Return an archive's path below a publisher's `releases/download/`, as the URL has it; "" for another URL."""
    return next((url.removeprefix(place) for place in PUBLISHERS if url.startswith(place)), "")
