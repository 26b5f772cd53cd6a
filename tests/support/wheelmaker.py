"""Wheels made to order, a few lines each, as real as those of an index: METADATA, WHEEL, RECORD with hashes."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_TIME = (2020, 2, 2, 0, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelRecipe:
    """What to put into a wheel. `files` maps archive paths to content; `executable` and `stored` name some of them.

    `extra_info` goes into the `.dist-info` directory: `{"entry_points.txt": b"..."}`.
    """

    name: str
    version: str = "1.0"
    files: Mapping[str, bytes] = field(default_factory=dict)
    requires: tuple[str, ...] = ()
    requires_python: str = ""
    tag: str = "py3-none-any"
    extra_info: Mapping[str, bytes] = field(default_factory=dict)
    executable: frozenset[str] = frozenset()
    stored: frozenset[str] = frozenset()

    @property
    def stem(self) -> str:
        return f"{self.name.replace('-', '_')}-{self.version}"

    @property
    def file_name(self) -> str:
        return f"{self.stem}-{self.tag}.whl"


def make_wheel(directory: Path, recipe: WheelRecipe) -> Path:
    """Write the wheel into `directory` and return its path. The same recipe gives the same bytes."""
    info = f"{recipe.stem}.dist-info"
    members = {
        **recipe.files,
        f"{info}/METADATA": _metadata(recipe),
        f"{info}/WHEEL": _wheel(recipe),
        **{f"{info}/{name}": content for name, content in recipe.extra_info.items()},
    }
    members[f"{info}/RECORD"] = record(members, f"{info}/RECORD")
    path = directory / recipe.file_name
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(_member(recipe, name), content)
    return path


def simple_wheel(directory: Path, name: str, version: str = "1.0", *, requires: Iterable[str] = ()) -> Path:
    """Write a wheel of one module that knows its version."""
    module = name.replace("-", "_")
    files = {f"{module}/__init__.py": f'__version__ = "{version}"\n'.encode()}
    return make_wheel(directory, WheelRecipe(name=name, version=version, files=files, requires=tuple(requires)))


def record(members: Mapping[str, bytes], own_name: str) -> bytes:
    """Return the text of RECORD: path, URL-safe base64 SHA-256 without padding, size."""
    lines = [f"{_quoted(name)},sha256={_hash(content)},{len(content)}" for name, content in members.items()]
    return "\n".join([*lines, f"{own_name},,", ""]).encode()


def _member(recipe: WheelRecipe, name: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name, _TIME)
    member.compress_type = zipfile.ZIP_STORED if name in recipe.stored else zipfile.ZIP_DEFLATED
    member.external_attr = (0o100755 if name in recipe.executable else 0o100644) << 16
    return member


def _metadata(recipe: WheelRecipe) -> bytes:
    lines = ["Metadata-Version: 2.1", f"Name: {recipe.name}", f"Version: {recipe.version}"]
    lines += [f"Requires-Python: {recipe.requires_python}"] if recipe.requires_python else []
    lines += [f"Requires-Dist: {requirement}" for requirement in recipe.requires]
    return "\n".join([*lines, "", ""]).encode()


def _wheel(recipe: WheelRecipe) -> bytes:
    purelib = "true" if recipe.tag.endswith("-none-any") else "false"
    lines = ["Wheel-Version: 1.0", "Generator: tests", f"Root-Is-Purelib: {purelib}"]
    return "\n".join([*lines, *(f"Tag: {tag}" for tag in _tags(recipe.tag)), ""]).encode()


def _tags(compressed: str) -> Iterable[str]:
    pythons, abis, platforms = (part.split(".") for part in compressed.split("-"))
    return (f"{python}-{abi}-{platform}" for python in pythons for abi in abis for platform in platforms)


def _hash(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if "," in name or '"' in name else name
