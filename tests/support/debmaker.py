"""Debian packages and signed archives made to measure.

deb = make_deb("libx1", files={"usr/lib/libx.so.1": b"..."}, depends="libc6")
archive = ArchiveMaker(directory)          # an archive below a directory, for `loopback.serve`
archive.add("bookworm", deb)
archive.publish("bookworm", date=...)
"""

from __future__ import annotations

import hashlib
import io
import lzma
import struct
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pysequoia import SignatureMode, Tsk, sign

from repro_env.lock.model import DebianPackage
from repro_env.values import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One member of a data archive; `kind` is a type of `tarfile`."""

    content: bytes = b""
    kind: bytes = tarfile.REGTYPE
    link: str = ""
    mode: int = 0o644
    owner: int = 0
    group: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A package that was made: its bytes, and its control fields."""

    data: bytes
    fields: Mapping[str, str]

    @property
    def name(self) -> str:
        return self.fields["Package"]

    @property
    def pool(self) -> str:
        version = self.fields["Version"].replace(":", "%3a")
        return f"pool/main/{self.name[0]}/{self.name}/{self.name}_{version}_{self.fields['Architecture']}.deb"

    def pin(self, *, extra: bool = False) -> DebianPackage:
        return DebianPackage(
            name=self.name,
            version=self.fields["Version"],
            architecture=self.fields["Architecture"],
            url=f"http://debian.invalid/debian/{self.pool}",
            sha256=Digest.of(self.data),
            size=len(self.data),
            extra=extra,
        )


def make_deb(
    name: str,
    version: str = "1.0-1",
    *,
    architecture: str = "amd64",
    files: Mapping[str, bytes | Entry] | None = None,
    members: Iterable[tuple[str, Entry]] | None = None,
    control: Mapping[str, bytes] | None = None,
    fields: Mapping[str, str] | None = None,
    depends: str = "",
) -> Made:
    """Make a package. `files` get their parent directories; `members` are written as they are, names and all."""
    stanza = {"Package": name, "Version": version, "Architecture": architecture, **(fields or {})}
    if depends:
        stanza["Depends"] = depends
    stanza["Description"] = f"the test package {name}"
    text = "".join(f"{key}: {value}\n" for key, value in stanza.items())
    scripts = {"control": text.encode(), **(control or {})}
    data = list(_with_parents(files or {})) if members is None else list(members)
    parts = {
        "debian-binary": b"2.0\n",
        "control.tar.xz": lzma.compress(make_tar((f"./{key}", Entry(content=value)) for key, value in scripts.items())),
        "data.tar.xz": lzma.compress(make_tar(data)),
    }
    return Made(data=make_ar(parts), fields=stanza)


def _with_parents(files: Mapping[str, bytes | Entry]) -> Iterable[tuple[str, Entry]]:
    directory = Entry(kind=tarfile.DIRTYPE, mode=0o755)
    made = {"."}
    yield "./", directory
    for path, content in files.items():
        parts = path.split("/")
        for depth in range(1, len(parts)):
            parent = "/".join(parts[:depth])
            if parent not in made:
                made.add(parent)
                yield f"./{parent}/", directory
        made.add(path)
        yield f"./{path}", Entry(content=content) if isinstance(content, bytes) else content


def make_tar(members: Iterable[tuple[str, Entry]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, entry in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.mode = entry.kind, entry.link, entry.mode
            info.uid, info.gid, info.mtime = entry.owner, entry.group, 1_700_000_000
            info.size = len(entry.content)
            archive.addfile(info, io.BytesIO(entry.content))
    return buffer.getvalue()


def make_ar(parts: Mapping[str, bytes]) -> bytes:
    body = b"!<arch>\n"
    for name, content in parts.items():
        body += f"{name:<16}{'1700000000':<12}{'0':<6}{'0':<6}{'100644':<8}{len(content):<10}`\n".encode()
        body += content + b"\n" * (len(content) % 2)
    return body


def make_library(soname: str, *, machine: int = 62) -> bytes:
    """Make the smallest shared library that has a soname: one segment, one dynamic section, one string."""
    strings = b"\0" + soname.encode() + b"\0"
    dynamic_at, count = 64 + 2 * 56, 3 if soname else 2
    strings_at = dynamic_at + 16 * count
    size = strings_at + len(strings)
    entries = [(5, strings_at), *([(14, 1)] if soname else []), (0, 0)]
    head = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 3, machine, 1, 0, 64, 0, 0, 64, 56, 2, 64, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, size, size, 4096)
    dynamic = struct.pack("<IIQQQQQQ", 2, 6, dynamic_at, dynamic_at, dynamic_at, 16 * count, 16 * count, 8)
    return head + load + dynamic + b"".join(struct.pack("<qQ", *entry) for entry in entries) + strings


def stanza_of(name: str, version: str = "1.0-1", **fields: str) -> str:
    """Return a stanza of an index for a package that nobody downloads. `Pre_Depends` stands for `Pre-Depends`."""
    content = f"{name} {version}".encode()
    known = {
        "Package": name,
        "Version": version,
        "Architecture": "amd64",
        **{key.replace("_", "-"): value for key, value in fields.items()},
        "Filename": f"pool/main/{name}_{version}.deb",
        "Size": str(len(content)),
        "SHA256": hashlib.sha256(content).hexdigest(),
    }
    return "".join(f"{key}: {value}\n" for key, value in known.items())


@dataclass(slots=True)
class Signer:
    """A signing key made for a test, and its public certificate."""

    secret: Any = None
    certificate: Any = None

    def __post_init__(self) -> None:
        self.secret = Tsk.generate("An archive of tests <archive@debian.invalid>")
        self.certificate = self.secret.extract_certificate()

    def sign(self, text: str) -> bytes:
        signed: bytes = sign(self.secret.signer(), text.encode(), mode=SignatureMode.CLEAR)
        return signed


@dataclass(slots=True)
class ArchiveMaker:
    """An archive below `root`, laid out as Debian's: `dists/SUITE/InRelease`, its indexes, and `pool/`."""

    root: Path
    signer: Signer
    stanzas: dict[str, list[str]] = field(default_factory=dict)

    def add(self, suite: str, *stanzas: str) -> None:
        """Put packages into a suite's index."""
        self.stanzas.setdefault(suite, []).extend(stanzas)

    def add_deb(self, suite: str, made: Made) -> None:
        """Put a package into the pool and into a suite's index."""
        path = self.root / made.pool
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(made.data)
        known = {**made.fields, "Filename": made.pool, "Size": str(len(made.data))}
        known["SHA256"] = hashlib.sha256(made.data).hexdigest()
        self.add(suite, "".join(f"{key}: {value}\n" for key, value in known.items()))

    def publish(
        self,
        suite: str,
        *,
        date: datetime | None = None,
        valid: timedelta | None = None,
        codename: str = "",
        architectures: Iterable[str] = ("amd64",),
        by_hash: bool = True,
        others: Mapping[str, bytes] | None = None,
    ) -> None:
        """Write a suite's index and its signed release, of `date` and valid for `valid`, which lists `others` too."""
        moment = date or datetime.now(UTC).replace(microsecond=0)
        index = "\n".join(self.stanzas.get(suite, [])).encode()
        files = dict(others or {})
        for architecture in architectures:
            for name, content in {"Packages": index, "Packages.xz": lzma.compress(index)}.items():
                files[f"main/binary-{architecture}/{name}"] = content
        for path, content in files.items():
            self._write(suite, path, content, by_hash=by_hash)
        lines = [f"Origin: Test\nSuite: test\nCodename: {codename or suite}\nDate: {_date(moment)}\n"]
        lines += [f"Valid-Until: {_date(moment + valid)}\n"] if valid is not None else []
        lines += ["Acquire-By-Hash: yes\n"] if by_hash else []
        lines += ["SHA256:\n"]
        lines += [f" {hashlib.sha256(content).hexdigest()} {len(content)} {path}\n" for path, content in files.items()]
        release = self.root / "dists" / suite / "InRelease"
        release.write_bytes(self.signer.sign("".join(lines)))

    def _write(self, suite: str, path: str, content: bytes, *, by_hash: bool) -> None:
        plain = self.root / "dists" / suite / path
        hashed = plain.parent / "by-hash" / "SHA256" / hashlib.sha256(content).hexdigest()
        for target in (plain, hashed) if by_hash else (plain,):
            if target.name != "Packages":
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)


def _date(moment: datetime) -> str:
    return moment.strftime("%a, %d %b %Y %H:%M:%S UTC")
