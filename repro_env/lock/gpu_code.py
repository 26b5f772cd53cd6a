"""Which GPU code the libraries of a wheel carry, as the lock says it: what decides whether they run on a device."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from repro_env.config.lines import KeyPath
from repro_env.frozen import dataclass
from repro_env.lock import toml_text as toml
from repro_env.lock.fields import Fields
from repro_env.values import Digest

KEY = "gpu_code"
"""The key of a package's block that lists its libraries."""

_SASS = re.compile(r"([1-9][0-9]{1,2})([af]?)\Z")
_PTX = re.compile(r"([1-9][0-9]{1,2})([af]?)/([0-9]{1,3})\.([0-9]{1,3})\Z")
_AMD = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*(:[a-z]+[+-])*\Z")
_PATH = re.compile(r"(\.\./)*(?!\.{1,2}(/|\Z))[^/\x00]+(/(?!\.{1,2}(/|\Z))[^/\x00]+)*\Z")
_REASON = re.compile(r"\S([^\x00-\x1f\x7f]*\S)?\Z")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class GpuCode:
    """What one library of a wheel carries for GPUs: code for an architecture, or text that a driver translates.

    `path` is where it is installed, relative to `site-packages`, as RECORD writes it: the same for every interpreter.
    `sass` are NVIDIA architectures, as compute capabilities without the dot: "70", "90a" (this architecture alone),
    "100f" (its family). `ptx` are architecture and version of the PTX language: "120/8.7". `amd` are processors,
    with what they must have turned on or off: "gfx90a", "gfx942:xnack-". `unknown` says why the file could not be read;
    the others are empty then. All are sorted, numbers as numbers.

    Sources: CUDA Binary Utilities, "cuobjdump"; LLVM, "User Guide for AMDGPU Backend", "Processors".
    """

    path: str
    sass: tuple[str, ...] = ()
    ptx: tuple[str, ...] = ()
    amd: tuple[str, ...] = ()
    unknown: str = ""

    def to_dict(self) -> dict[str, str]:
        """Return the facts that are not empty, each list as words: how the lock writes them, and JSON shows them."""
        words = {"sass": self.sass, "ptx": self.ptx, "amd": self.amd}
        listed = {name: " ".join(found) for name, found in words.items() if found}
        return {"path": self.path, **listed, **({"unknown": self.unknown} if self.unknown else {})}


def sorted_sass(found: Iterable[str]) -> tuple[str, ...]:
    """Return architectures, each once, by number. Errors: `ValueError` for what is none."""
    return _sorted(found, _SASS, "an architecture such as 90a")


def sorted_ptx(found: Iterable[str]) -> tuple[str, ...]:
    """Return architectures with PTX versions, each once, by number. Errors: `ValueError` for what is none."""
    return _sorted(found, _PTX, "an architecture and a PTX version such as 90/8.4")


def sorted_amd(found: Iterable[str]) -> tuple[str, ...]:
    """Return AMD processors, each once, by name. Errors: `ValueError` for what is none."""
    return _sorted(found, _AMD, "an AMD processor such as gfx90a")


def read_gpu_code(fields: Fields, wheel: Digest, found: dict[Digest, tuple[GpuCode, ...]]) -> None:
    """Take the GPU code of a package's block into `found`. Errors: `InvalidLockError`."""
    if not fields.has(KEY):
        return
    listed = gpu_code_from(fields.items(KEY), (*fields.path, KEY))
    if not listed or len({one.path for one in listed}) < len(listed):
        raise fields.fail(KEY, "expected one or more libraries, each once")
    if found.setdefault(wheel, listed) != listed:
        raise fields.fail(KEY, "says something else than the same file's other block")


def gpu_code_from(items: Iterable[Any], path: KeyPath = ()) -> tuple[GpuCode, ...]:
    """Return libraries from what `to_dict` made of each, sorted. Errors: `InvalidLockError`, a `ValueError`."""
    return tuple(sorted(_read(Fields(values, (*path, at))) for at, values in enumerate(items)))


def gpu_code_lines(code: Mapping[Digest, tuple[GpuCode, ...]], wheel: Digest) -> Iterator[str]:
    """Yield the lines of a wheel's block that say its GPU code, one a library."""
    found = code.get(wheel, ())
    if found:
        yield from toml.lines(KEY, (toml.inline(one.to_dict()) for one in sorted(found)))


def gpu_code_of(
    code: Mapping[Digest, tuple[GpuCode, ...]], wheels: Iterable[Digest]
) -> dict[Digest, tuple[GpuCode, ...]]:
    """Return what is known of these wheels alone."""
    return {wheel: code[wheel] for wheel in wheels if wheel in code}


def _read(fields: Fields) -> GpuCode:
    code = GpuCode(
        path=fields.parsed("path", _path),
        sass=_words(fields, "sass", sorted_sass),
        ptx=_words(fields, "ptx", sorted_ptx),
        amd=_words(fields, "amd", sorted_amd),
        unknown=fields.parsed("unknown", _reason) if fields.has("unknown") else "",
    )
    fields.done()
    if bool(code.unknown) == bool(code.sass or code.ptx or code.amd):
        raise fields.fail("unknown", "stands where nothing else is known of the library, and only there")
    return code


def _words(fields: Fields, key: str, parse: Callable[[Iterable[str]], tuple[str, ...]]) -> tuple[str, ...]:
    return fields.parsed(key, lambda text: parse(text.split(" "))) if fields.has(key) else ()


def _sorted(found: Iterable[str], shape: re.Pattern[str], expected: str) -> tuple[str, ...]:
    known = set(found)
    for text in known:
        if not shape.match(text):
            raise ValueError(f"expected {expected}, found {text!r}")
    return tuple(sorted(known, key=lambda text: [*_numbers(text)]))


def _numbers(text: str) -> Iterator[tuple[int, str]]:
    """Yield a text's parts so that they sort by their numbers, where these are decimal."""
    for part in re.findall(r"[0-9]+|[^0-9]+", text):
        yield (int(part), "") if part.isdecimal() else (-1, part)


def _path(text: str) -> str:
    if not _PATH.match(text):
        raise ValueError(f"expected a path relative to site-packages, found {text!r}")
    return text


def _reason(text: str) -> str:
    if not _REASON.match(text):
        raise ValueError(f"expected a reason on one line, found {text!r}")
    return text
