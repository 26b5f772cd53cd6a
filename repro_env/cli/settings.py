"""What a user, not a project, decides: where Debian's archives are, by environment variable."""

from __future__ import annotations

import os

from repro_env.resolve.debian.archive import Mirrors

_VARIABLES = {
    "main": "REPRO_DEBIAN_MIRROR",
    "security": "REPRO_DEBIAN_SECURITY_MIRROR",
    "snapshot": "REPRO_DEBIAN_SNAPSHOT",
}


def mirrors() -> Mirrors:
    """Return where Debian's archives are: the user's `REPRO_DEBIAN_*`, else Debian's own."""
    chosen = {field: os.environ[name] for field, name in _VARIABLES.items() if os.environ.get(name)}
    return Mirrors(**chosen)
