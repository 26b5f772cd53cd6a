"""What installing a wheel puts where, planned before a byte is written.

The layout is that of pypa/installer and of the binary distribution format (PyPA specification "Binary distribution
format", after PEP 427): the root goes to site-packages, `NAME.data/SCHEME` to its scheme, `#!python` scripts and entry
points to `bin`, `RECORD` and `INSTALLER` are written anew. The prefix is `/opt/env` in every image.
"""

from __future__ import annotations

import base64
import configparser
import csv
import hashlib
import io
import re
from collections.abc import Iterable, Iterator, Mapping

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from repro_env.errors import IntegrityError
from repro_env.frozen import dataclass
from repro_env.image.archive import Archive, Member
from repro_env.lock.places import ENVIRONMENT
from repro_env.values import PythonVersion, normalise_name

PREFIX = ENVIRONMENT.lstrip("/")
"""Where the environment stands in a layer."""

_SHEBANG = b"#!python"
_INTERPRETER = f"{ENVIRONMENT}/bin/python".encode()
_ENTRY_POINT = re.compile(r"(?P<module>[\w.]+)\s*:\s*(?P<attribute>[\w.]+)\s*(?:\[[^\]]*\]\s*)?\Z")
_SCRIPT_NAME = re.compile(r"[^/\0\n]+\Z")


@dataclass(frozen=True, slots=True)
class Installed:
    """One file as it will stand in the image: `data` if it is written anew, else the archive's `member` as it is.

    `sha256` is what RECORD says of it, to be compared when its content is inflated.
    """

    path: str
    executable: bool
    size: int
    sha256: bytes
    member: Member | None = None
    data: bytes = b""

    @property
    def fingerprint(self) -> str:
        """Equal for two files of equal content and mode."""
        return f"{self.sha256.hex()}{'x' if self.executable else ''}"


def site_packages(python: PythonVersion) -> str:
    """Return where an interpreter's packages stand in a layer."""
    return f"{PREFIX}/lib/python{python}/site-packages"


def plan(archive: Archive, python: PythonVersion) -> tuple[Installed, ...]:
    """Return every file that the wheel installs for this interpreter, RECORD included, in no particular order.

    Errors: `IntegrityError` when the archive is not a wheel of the name it has, or its RECORD is not true of it.
    """
    wheel = _Wheel(archive, python)
    entry_points = {file.path: file for file in wheel.entry_points()}
    # A script of a wheel from before entry points does what the entry point of its name does; pip and uv drop it too.
    files = [file for file in wheel.members() if file.path not in entry_points]
    files += entry_points.values()
    files.append(_written(f"{wheel.site}/{wheel.info}/INSTALLER", b"repro\n"))
    files.append(_record(wheel, files))
    for file in files:
        if not file.path.startswith(wheel.site):
            wheel.check_place(file.path)
    return tuple(files)


class _Wheel:
    """An archive whose metadata was found and read."""

    def __init__(self, archive: Archive, python: PythonVersion) -> None:
        self.archive, self.python = archive, python
        self.by_name = {member.name: member for member in archive.members}
        self.name, self.info = _info_directory(archive)
        self.data = self.info.removesuffix(".dist-info") + ".data"
        self.site = site_packages(python)
        self._check_version()
        self.recorded = self._read_record()

    def members(self) -> Iterator[Installed]:
        """Yield the archive's own files in their places."""
        replaced = {f"{self.info}/{name}" for name in ("RECORD", "INSTALLER")}
        for member in self.archive.members:
            # Byte code that comes along would run in place of the source beside it; pypa/installer leaves it out, too.
            if member.name in replaced or "__pycache__" in member.name.split("/")[:-1]:
                continue
            place, script = self._place(member.name)
            sha256 = self._sha256(member)
            if script and self.archive.begins_with(member, _SHEBANG):
                yield _written(place, self._with_interpreter(member, sha256), executable=True)
            else:
                yield Installed(place, member.executable or script, member.size, sha256, member)

    def entry_points(self) -> Iterator[Installed]:
        """Yield a script for each console and GUI entry point (PyPA specification "Entry points")."""
        member = self.by_name.get(f"{self.info}/entry_points.txt")
        if member is None:
            return
        scripts = _read_entry_points(self.archive.read(member), self.archive.label)
        for name, text in scripts.items():
            yield _written(f"{PREFIX}/bin/{name}", text, executable=True)

    def refuse(self, why: str) -> IntegrityError:
        return IntegrityError(f"{self.archive.label} is not a usable wheel", why)

    def check_place(self, path: str) -> None:
        """Refuse a file in place of what the environment itself holds, or of a directory above that."""
        own = (*(f"bin/{name}" for name in ("python", "python3", f"python{self.python}")), "pyvenv.cfg")
        for name in own:
            place = f"{PREFIX}/{name}"
            if path == place or path.startswith(f"{place}/") or place.startswith(f"{path}/"):
                raise self.refuse(f"it writes /{path}, which is the environment's own")

    def _with_interpreter(self, member: Member, sha256: bytes) -> bytes:
        """Return a script that begins with `#!python` with the image's interpreter in that whole line's place."""
        script = self.archive.read(member)
        if hashlib.sha256(script).digest() != sha256:
            raise self.refuse(f"{member.name} is not what RECORD says")
        return b"#!" + _INTERPRETER + b"\n" + script.partition(b"\n")[2]

    def _place(self, name: str) -> tuple[str, bool]:
        """Return where a member goes and whether it is a script."""
        top, _, rest = name.partition("/")
        if top != self.data or not rest:
            return f"{self.site}/{name}", False
        scheme, _, rest = rest.partition("/")
        roots = {
            "purelib": self.site,
            "platlib": self.site,
            "scripts": f"{PREFIX}/bin",
            "headers": f"{PREFIX}/include/site/python{self.python}/{self.name}",
            "data": PREFIX,
        }
        if scheme not in roots or not rest:
            raise self.refuse(f"{name}: {scheme!r} is not an installation scheme")
        return f"{roots[scheme]}/{rest}", scheme == "scripts"

    def _check_version(self) -> None:
        text = self._text("WHEEL")
        match = re.search(r"^Wheel-Version:\s*(\d+)\.", text, re.MULTILINE)
        if not match or match[1] != "1":
            raise self.refuse("its Wheel-Version is not 1.x")

    def _text(self, name: str) -> str:
        member = self.by_name.get(f"{self.info}/{name}")
        if member is None:
            raise self.refuse(f"{self.info}/{name} is missing")
        try:
            return self.archive.read(member).decode()
        except UnicodeDecodeError as error:
            raise self.refuse(f"{self.info}/{name} is not UTF-8") from error

    def _read_record(self) -> Mapping[str, tuple[str, bytes]]:
        """Return what RECORD says: name to hash algorithm and hash, both empty where it gives none."""
        recorded: dict[str, tuple[str, bytes]] = {}
        try:
            rows = list(csv.reader(io.StringIO(self._text("RECORD"), newline=""), strict=True))
        except csv.Error as error:
            raise self.refuse(f"RECORD: {error}") from error
        for row in rows:
            if not row:
                continue
            name, hashed = row[0], row[1] if len(row) > 1 else ""
            algorithm, _, value = hashed.partition("=")
            recorded[name] = (algorithm, _unpadded_base64(value))
        return recorded

    def _sha256(self, member: Member) -> bytes:
        """Return the member's SHA-256 as recorded; where RECORD gives none or another hash, read the member for it."""
        algorithm, value = self.recorded.get(member.name, ("", b""))
        if algorithm == "sha256" and value:
            return value
        if algorithm in {"sha384", "sha512"} and self.archive.digest(member, algorithm) != value:
            raise self.refuse(f"{member.name} is not what RECORD says")
        return self.archive.digest(member, "sha256")


def _info_directory(archive: Archive) -> tuple[str, str]:
    """Return the distribution's name as its `.dist-info` directory spells it, and that one directory."""
    try:
        name, version, _build, _tags = parse_wheel_filename(archive.label)
    except InvalidWheelFilename as error:
        raise IntegrityError(f"{archive.label} is not a usable wheel", str(error)) from error
    found = {top for top, _, _ in (member.name.partition("/") for member in archive.members)}
    found = {top for top in found if top.endswith(".dist-info")}
    if len(found) != 1:
        raise IntegrityError(f"{archive.label} is not a usable wheel", f"it has {len(found)} .dist-info directories")
    info = found.pop()
    spelled = info.removesuffix(".dist-info").partition("-")[0]
    try:
        same = normalise_name(spelled) == name
    except ValueError:
        same = False
    if not same:
        why = f"it holds {info}, which is not of {name} {version}"
        raise IntegrityError(f"{archive.label} is not a usable wheel", why)
    return spelled, info


def _unpadded_base64(text: str) -> bytes:
    """Return a RECORD hash's bytes; empty for none or nonsense, which no content then equals."""
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        return b"?"


def _written(path: str, data: bytes, *, executable: bool = False) -> Installed:
    return Installed(path, executable, len(data), hashlib.sha256(data).digest(), None, data)


class _CaseSensitiveParser(configparser.ConfigParser):
    def optionxform(self, optionstr: str) -> str:
        return optionstr


def _read_entry_points(data: bytes, label: str) -> dict[str, bytes]:
    """Return the scripts that `entry_points.txt` asks for, by name."""
    parser = _CaseSensitiveParser(delimiters=("=",), interpolation=None)
    try:
        parser.read_string(data.decode())
    except (configparser.Error, UnicodeDecodeError) as error:
        raise IntegrityError(f"{label} is not a usable wheel", f"entry_points.txt: {error}") from error
    scripts = {}
    for section in ("console_scripts", "gui_scripts"):
        for name, value in parser.items(section) if parser.has_section(section) else ():
            match = _ENTRY_POINT.match(value.strip())
            if not match or not _SCRIPT_NAME.match(name) or name in {".", ".."}:
                why = f"entry_points.txt: {name} = {value} is not a callable"
                raise IntegrityError(f"{label} is not a usable wheel", why)
            scripts[name] = _script(match["module"], match["attribute"])
    return scripts


def _script(module: str, attribute: str) -> bytes:
    first = attribute.partition(".")[0]
    lines = (f"#!{_INTERPRETER.decode()}", "import sys", f"from {module} import {first}")
    return "\n".join((*lines, "", 'if __name__ == "__main__":', f"    sys.exit({attribute}())", "")).encode()


def _record(wheel: _Wheel, files: Iterable[Installed]) -> Installed:
    """Return RECORD as the format of recording installed projects has it, in the order of the paths."""
    path = f"{wheel.site}/{wheel.info}/RECORD"
    rows = [(_relative(wheel.site, file.path), _recorded_hash(file.sha256), str(file.size)) for file in files]
    rows.append((_relative(wheel.site, path), "", ""))
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(sorted(rows))
    return _written(path, text.getvalue().encode())


def _recorded_hash(sha256: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(sha256).rstrip(b"=").decode()


def _relative(site: str, path: str) -> str:
    """Return a path as seen from site-packages, which stands three directories below the prefix."""
    if path.startswith(f"{site}/"):
        return path[len(site) + 1 :]
    return "../../../" + path[len(PREFIX) + 1 :]
