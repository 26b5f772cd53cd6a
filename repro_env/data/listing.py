r"""What a source listed, checked and in order, and the two texts whose digests pin it.

Where every file's SHA-256 is known that is the manifest (`data.manifest`), the same as of a directory on disk. Where
data is pinned by what its source calls it, because it is not to be downloaded for that, it is a list of pins:

    repro data pins 1
    file <TAB> 53098 <TAB> etag:"9b2cf535f27731c9" <TAB> penguins-raw.csv

One line a file, sorted by the bytes of its path: kind, size in bytes or `-`, pin, path, and a link's target.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from repro_env.data import manifest
from repro_env.data.manifest import Entry
from repro_env.data.measure import nothing_selected
from repro_env.data.select import Selection
from repro_env.data.sources.base import RemoteFile, Resolved, Source
from repro_env.data.tree import leaves, listed
from repro_env.errors import ConfigError, VerificationError
from repro_env.values import Digest

PINS_FIRST_LINE = b"repro data pins 1\n"

_STRENGTH = ("sha256", "md5", "crc32c", "version", "generation", "commit", "etag", "modified")
"""The kinds of pins from the strongest down: one that is not named here is taken to be weaker than all of them."""


def list_files(source: Source, resolved: Resolved, selection: Selection) -> tuple[RemoteFile, ...]:
    """Return the files of what was resolved that count, sorted by the bytes of their paths.

    Errors: as `Source.files`; `VerificationError` for names that would not stay inside the data, that are there twice,
    or where nothing is left.
    """
    found = source.files(resolved)
    name = f"data {resolved.request.name}"
    if resolved.kind == "file":
        if len(found) != 1 or found[0].path:
            raise VerificationError(f"{name} was a single file and is not any more", resolved.request.uri)
        return tuple(found)
    taken = [file for file in found if selection.takes_all or selection.takes(_plain(file.path))]
    if not taken:
        if selection.takes_all:
            raise VerificationError(f"{name} is empty", resolved.request.uri or resolved.request.path)
        raise nothing_selected(name, selection)
    _check_names(name, taken)
    return tuple(sorted(taken, key=lambda file: _plain(file.path)))


def _check_names(name: str, files: Sequence[RemoteFile]) -> None:
    """Check that every file has a place of its own inside a directory. Errors: `VerificationError` that names all."""
    paths = {file.path for file in files}
    targets = {_plain(file.path): _plain(file.target) for file in files if file.kind == "link"}
    wrong = [f"{file.path}: is listed twice" for file in _twice(files)]
    for file in files:
        plain = _plain(file.path)
        parts = plain.split(b"/")
        if any(part in (b"", b".", b"..") or b"\0" in part for part in parts):
            wrong.append(f"{file.path}: is no name of a file inside a directory")
        elif above := next((up for up in _parents(file.path) if up in paths), ""):
            wrong.append(f"{file.path}: lies below {above}, which is a file")
        elif file.kind == "link" and leaves(plain, targets):
            wrong.append(f"{file.path} -> {file.target}: leaves the data")
    if wrong:
        raise VerificationError(f"{name} cannot be a directory", listed(sorted(wrong)), "leave them out with exclude")


def _twice(files: Iterable[RemoteFile]) -> Iterable[RemoteFile]:
    seen: set[str] = set()
    for file in files:
        if file.path in seen:
            yield file
        seen.add(file.path)


def _parents(path: str) -> Iterable[str]:
    while path := path.rpartition("/")[0]:
        yield path


def _plain(text: str) -> bytes:
    return manifest.unescape(text.encode())


def entries_of(files: Iterable[RemoteFile], contents: Mapping[str, Entry]) -> dict[str, Entry]:
    """Return a listing's manifest by path; `contents` has size and digest of every file whose content was read."""
    return {file.path: contents.get(file.path) or _entry(file) for file in files}


def _entry(file: RemoteFile) -> Entry:
    return Entry(path=file.path, kind=file.kind, size=file.size or 0, digest=file.digest, target=file.target)


def pins_text(name: str, files: Sequence[RemoteFile]) -> bytes:
    """Return the list of pins. Errors: `ConfigError` where the source has no word for a file's content."""
    bare = [file.path or "the file" for file in files if file.kind != "link" and not _pin(file)]
    if bare:
        why = f"its source gives neither a version nor an ETag of\n{listed(bare)}"
        raise ConfigError(f'data {name} cannot have pin = "version"', why, 'leave pin out: it is "content" by default')
    return PINS_FIRST_LINE + b"".join(map(_line, files))


def _line(file: RemoteFile) -> bytes:
    size = "-" if file.size is None else str(file.size)
    fields = [file.kind, size, _pin(file) or "-", file.path, *([file.target] if file.kind == "link" else [])]
    return "\t".join(fields).encode() + b"\n"


def weakest_pin(files: Iterable[RemoteFile]) -> str:
    """Return the name of the weakest kind of pin that a list of pins holds."""
    names = {_pin(file).partition(":")[0] for file in files if file.kind != "link"}
    return max(names, key=lambda name: (_STRENGTH.index(name) if name in _STRENGTH else len(_STRENGTH), name))


def _pin(file: RemoteFile) -> str:
    return str(file.digest) if file.digest is not None else _printable(file.pin)


def _printable(pin: str) -> str:
    """Return a pin in one line: it is a server's word."""
    return manifest.escape(pin.encode()).decode()


def pins_of(text: bytes) -> dict[str, str]:
    """Return size and pin of each file of a list of pins, by path. Errors: `ValueError` for what is none."""
    if not text.startswith(PINS_FIRST_LINE):
        raise ValueError("not a list of pins of version 1")
    lines = (line.split("\t") for line in text[len(PINS_FIRST_LINE) :].decode().split("\n")[:-1])
    return {fields[3]: " ".join(fields[1:3]) for fields in lines}


def content_digest(kind: str, entries: Mapping[str, Entry]) -> Digest:
    """Return the digest that pins content: of a file its own, of a directory its manifest's."""
    if kind == "file":
        digest = next(iter(entries.values())).digest
        assert digest is not None, "a link is no single file"
        return digest
    return Digest.of(manifest.text(entries.values()))
