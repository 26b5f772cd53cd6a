"""One difference between two images, and how it is said."""

from __future__ import annotations

from typing import Any

from repro_env.frozen import dataclass


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two images differ: in which part, at which path in it, in what, and what is so `here` and `there`.

    `place` is a layer with what it holds, `config` or `manifest`; `path` is a file's in a layer. `field` is empty where
    the whole entry differs. `more` counts further differences of the same part.
    """

    place: str
    path: str = ""
    field: str = ""
    here: str = ""
    there: str = ""
    more: int = 0

    def __str__(self) -> str:
        what = f"{self.field} {self.here} here, {self.there} there".strip()
        text = ": ".join(part for part in (self.place, self.path, what) if part)
        return text + (f" (and {self.more} more)" if self.more else "")

    def to_dict(self) -> dict[str, Any]:
        """Return it for a JSON document."""
        return {
            "place": self.place,
            "path": self.path,
            "field": self.field,
            "here": self.here,
            "there": self.there,
            "more": self.more,
        }
