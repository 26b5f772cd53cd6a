"""NVIDIA's forward-compatibility package in an image: which CUDA it brings to which older drivers.

`cuda-compat-X-Y` is a newer `libcuda.so`. An ELF note in it, `.note.cuda.fwd_compatibility`, holds a JSON object that
says of itself: `{"format": 1, "CUDA version": "13.1", "driver": [535, 550, 570, 575, 580, 590], ...}`. A file without
that note, of an older package, does not say for which drivers it is.

Sources: the guide "CUDA Compatibility", "Forward Compatibility"; NVIDIA's container toolkit, `cuda-compat`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from repro_env.lock.cuda import CudaCompat

_PLACE = re.compile(
    r"(?P<directory>usr/local/cuda(?:-(?P<cuda>\d+\.\d+))?[^/]*/compat(?:/[^/]+)?)/libcuda\.so\.(?P<driver>\d+(?:\.\d+)+)\Z"
)
_MARK = b'"CUDA version"'
_LONGEST = 16 << 10  # bytes that the note may take
_CHUNK = 1 << 20
_VERSION = re.compile(r"\d{1,3}\.\d{1,3}\Z")


def is_compat(path: str) -> bool:
    """Whether a path in an image, without its leading slash, is that of a forward-compatibility library."""
    return _PLACE.match(path) is not None


def read_compat(path: str, content: Any) -> dict[str, str]:
    """Return what the library at a path says of itself, as `CudaCompat` has it but in words. `content` is a stream."""
    place = _PLACE.match(path)
    assert place is not None, "only of what is_compat"
    note = next(_notes(content), {})
    branches = " ".join(str(number) for number in note.get("driver", ()))
    cuda = note.get("CUDA version") or place["cuda"] or ""
    return {"cuda": cuda, "driver": place["driver"], "branches": branches, "path": f"/{place['directory']}"}


def newest_compat(found: Mapping[str, Mapping[str, str]]) -> CudaCompat | None:
    """Return the newest of the libraries in an image, by its path, or None."""
    known = [_compat(values) for values in found.values() if values.get("cuda")]
    return max(known, key=lambda one: [int(part) for part in one.driver.split(".")], default=None)


def _compat(values: Mapping[str, str]) -> CudaCompat:
    branches = tuple(map(int, values["branches"].split()))
    return CudaCompat(cuda=values["cuda"], driver=values["driver"], branches=branches, path=values["path"])


def _notes(content: Any) -> Iterator[dict[str, Any]]:
    """Yield the objects in a stream that have the note's keys; in bounded memory."""
    before = b""
    while piece := content.read(_CHUNK):
        window = before + piece
        for match in re.finditer(re.escape(_MARK), window):
            start = window.rfind(b"{", max(0, match.start() - _LONGEST), match.start())
            note = _object(window[start : start + _LONGEST]) if start >= 0 else None
            if note is not None:
                yield note
        before = window[-2 * _LONGEST :]


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        found, _ = json.JSONDecoder().raw_decode(text.decode("latin-1"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or found.get("format") != 1:
        return None
    cuda, branches = found.get("CUDA version"), found.get("driver")
    if not (isinstance(cuda, str) and _VERSION.match(cuda) and isinstance(branches, list)):
        return None
    return found if all(type(one) is int and 0 < one < 10**4 for one in branches) else None
