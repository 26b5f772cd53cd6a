"""What a user, not a project, decides by environment variable: where archives and indexes are."""

from __future__ import annotations

import os

from repro_env.errors import UsageError
from repro_env.resolve.debian.archive import Mirrors

_VARIABLES = {
    "main": "REPRO_DEBIAN_MIRROR",
    "security": "REPRO_DEBIAN_SECURITY_MIRROR",
    "snapshot": "REPRO_DEBIAN_SNAPSHOT",
}


def mirrors() -> Mirrors:
    """Return where Debian's archives are: the user's `REPRO_DEBIAN_*`, else Debian's own. Errors: `UsageError`."""
    chosen = {field: os.environ[name] for field, name in _VARIABLES.items() if os.environ.get(name)}
    if "snapshot" in chosen:
        _check_template(chosen["snapshot"])
    return Mirrors(**chosen)


def torch_mirror() -> str:
    """Return what stands for `https://download.pytorch.org/whl`: the user's `REPRO_TORCH_MIRROR`, else nothing.

    Errors: `UsageError`.
    """
    mirror = os.environ.get("REPRO_TORCH_MIRROR", "")
    if mirror and not mirror.startswith(("https://", "http://", "file:///")):
        why = "an address with https: is expected, below which cpu/ and cu128/ are"
        raise UsageError("REPRO_TORCH_MIRROR is no address", why, "such as https://download.pytorch.org/whl")
    return mirror


def _check_template(template: str) -> None:
    try:
        addresses = {template.format(archive=archive, date=date) for archive in "ab" for date in "12"}
    except (ValueError, LookupError, AttributeError, TypeError):
        addresses = set()
    if len(addresses) < 4:  # noqa: PLR2004 - two archives at two dates
        why = "an address with {archive} and {date} in it is expected, without other braces"
        hint = f"such as {Mirrors().snapshot}"
        raise UsageError("REPRO_DEBIAN_SNAPSHOT is no template of addresses", why, hint)
