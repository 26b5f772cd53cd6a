"""Debian packages to layers: unpacked in dpkg's order, with the effects of maintainer scripts that matter reproduced.

Nothing of dpkg is needed, and nothing is executed.
"""

from repro_env.image.debian.base import build_base_layers

__all__ = ["build_base_layers"]
