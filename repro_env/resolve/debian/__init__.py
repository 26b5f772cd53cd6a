"""From a Debian base as asked for to the exact packages it is made of.

The suite's signed indexes are fetched and verified, the dependencies of a small standard set and of what the user
names are resolved in this process, and every `.deb` is pinned by version, size and SHA-256. Nothing of apt or dpkg is
needed, and nothing is executed.
"""

from repro_env.resolve.debian.archive import Mirrors, snapshot_urls
from repro_env.resolve.debian.resolve import resolve_base

__all__ = ["Mirrors", "resolve_base", "snapshot_urls"]
