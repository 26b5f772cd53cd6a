"""Arrays of numbers: `.npy`, `.npz` and `.safetensors`."""

from __future__ import annotations

import contextlib
import json
import math
import tokenize
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from repro_env.config.comparison import Comparison
from repro_env.edges.files import os_errors
from repro_env.record.comparison.base import UnreadableError, Verdict, optional, reading
from repro_env.record.comparison.tally import Tally

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

Load = Callable[[], "Array"]

_PIECE = 1 << 20  # values
_MAPPED = 64 << 20  # bytes; a file above this is not read into memory as a whole
_HEADER_LIMIT = 100 << 20  # of safetensors, in bytes
_ERRORS = (tokenize.TokenError, zipfile.BadZipFile)  # of what numpy reads files with

# Source: https://github.com/huggingface/safetensors, "Format". What numpy has no type for is compared bit by bit.
_SAFETENSORS = {"BF16": "bfloat16", "BOOL": "?", "F8_E4M3": "S1", "F8_E5M2": "S1", "F8_E8M0": "S1"}
_SAFETENSORS |= {f"{kind.upper()}{8 * size}": f"<{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)}
_SAFETENSORS |= {"F16": "<f2", "F32": "<f4", "F64": "<f8", "C64": "<c8"}


class Arrays:
    """Compares arrays of the same names one by one: type, shape, then values.

    Byte order and memory layout are no difference, another type or shape is. What surrounds the arrays, such as a
    `.npz` file's time stamps and the metadata of safetensors, is not compared. An array of Python objects is refused:
    reading it would run code that is in it.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".npy", ".npz", ".safetensors")
    """The ends of the names of the files that it reads."""

    def __init__(self, comparison: Comparison) -> None:
        self._comparison = comparison
        optional("numpy", "comparing numbers")

    def compare(self, then: Path, now: Path) -> Verdict:
        """Compare two files. Errors: `UnreadableError`, `StoreError`."""
        tally = Tally(self._comparison)
        with _opened(then) as before, _opened(now) as after:
            for name in sorted({*before, *after}):
                if name not in after or name not in before:
                    tally.tell(f"array {name}", "is missing" if name in before else "is new")
                    continue
                with reading(then, *_ERRORS):
                    first = before[name]()
                with reading(now, *_ERRORS):
                    second = after[name]()
                compare_arrays(tally, name, first, second)
        return tally.verdict()


def compare_arrays(tally: Tally, name: str, then: Array, now: Array) -> None:
    """Compare two arrays of any shape and type; `name` is how they are called, empty for a file's only one."""
    called = f"array {name}" if name else "the array"
    if then.dtype.newbyteorder("=") != now.dtype.newbyteorder("="):
        tally.tell(called, f"of type {then.dtype} then, {now.dtype} now")
    elif then.shape != now.shape:
        tally.tell(called, f"of shape {then.shape} then, {now.shape} now")
    elif then.dtype.names:
        for field in then.dtype.names:
            compare_arrays(tally, f"{name}.{field}" if name else field, then[field], now[field])
    else:
        _values(tally, name, then, now)


def _values(tally: Tally, name: str, then: Array, now: Array) -> None:
    """Compare values in pieces, in the order of their indices, whatever the layout in memory."""
    np = optional("numpy", "comparing numbers")
    start = 0
    flags = ["external_loop", "buffered", "zerosize_ok"]
    operands = np.nditer([then, now], flags, [["readonly"]] * 2, order="C", buffersize=_PIECE)
    with operands:
        for first, second in operands:
            offset = start
            tally.array(first, second, lambda index, at=offset: _place(np, name, at + index, then.shape))  # type: ignore[misc]
            start += len(first)


def _place(np: Any, name: str, flat: int, shape: tuple[int, ...]) -> str:
    indices = ", ".join(str(int(index)) for index in np.unravel_index(flat, shape))
    return f"{name or 'value '}[{indices}]" if indices else name or "the value"


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Mapping[str, Load]]:
    """Give the arrays of a file by name, each to be loaded when its turn comes."""
    np = optional("numpy", "comparing numbers")
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        with reading(path, *_ERRORS):
            tensors = _safetensors(np, path)
        yield tensors
    elif suffix == ".npy":
        mode = "r" if path.stat().st_size > _MAPPED else None
        yield {"": lambda: np.load(path, mmap_mode=mode, allow_pickle=False)}
    else:
        with os_errors(f"read {path}"), path.open("rb") as stream:  # which numpy leaves open where it is no archive
            with reading(path, *_ERRORS):
                archive = np.load(stream, allow_pickle=False)
            if not hasattr(archive, "files"):
                raise UnreadableError(path, "it is no .npz archive")
            yield {name: lambda name=name: archive[name] for name in archive.files}  # type: ignore[misc]


def _safetensors(np: Any, path: Path) -> dict[str, Load]:
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > min(_HEADER_LIMIT, path.stat().st_size):
            raise ValueError("its header is longer than the file")
        header = json.loads(stream.read(length))
    if not isinstance(header, dict):
        raise TypeError("its header is no table of tensors")
    header.pop("__metadata__", None)
    return {name: _tensor(np, path, 8 + length, entry) for name, entry in header.items()}


def _tensor(np: Any, path: Path, start: int, entry: Mapping[str, Any]) -> Load:
    kind, shape = _SAFETENSORS.get(entry["dtype"]), tuple(entry["shape"])
    if kind is None:
        raise ValueError(f"it holds values of type {entry['dtype']}, which are not known here")
    offset, count = start + entry["data_offsets"][0], math.prod(shape)

    def load() -> Array:
        if not count:
            empty: Array = np.empty(shape, "<f4" if kind == "bfloat16" else kind)
            return empty
        stored: Array = np.memmap(path, "<u2" if kind == "bfloat16" else kind, "r", offset, shape)
        # A bfloat16 is the upper half of a float32.
        return (stored.astype(np.uint32) << 16).view(np.float32) if kind == "bfloat16" else stored

    return load
