"""What code needs that runs on Python 3.8, too: the part of this program that step images carry (`verify/program.py`).

There the standard library of the step's own interpreter is all there is, and that may be an old one.
"""

from __future__ import annotations

import dataclasses
import sys

__all__ = ["dataclass"]

if sys.version_info >= (3, 10):
    from dataclasses import dataclass
else:

    def dataclass(*, slots=False, kw_only=False, **options):  # noqa: ANN001, ANN003, ANN201, ARG001 - the real one's
        """Make a data class without what this Python cannot: `slots` saves memory, `kw_only` is a matter of style."""
        return dataclasses.dataclass(**options)
