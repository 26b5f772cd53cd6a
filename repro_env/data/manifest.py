r"""The manifest of a directory: a canonical text that lists its files, whose SHA-256 is the directory's digest.

    repro data manifest 1
    file <TAB> 53098 <TAB> 144f6231... <TAB> penguins-raw.csv
    executable <TAB> 120 <TAB> 9f86d081... <TAB> tools/convert
    link <TAB> 0 <TAB> - <TAB> latest.csv <TAB> penguins-raw.csv

One line a file, sorted by the bytes of its path below the directory: kind, size in bytes, SHA-256 in hexadecimal, path,
and for a symbolic link its target. A path is UTF-8; a backslash, a control character and a byte that is no UTF-8 are
written `\xHH`, so that any name the file system holds can be pinned and shown. Directories follow from their files; an
empty one is not content. Owner, times and the other permission bits are the machine's and not the data's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from repro_env.frozen import dataclass
from repro_env.values import Digest

FIRST_LINE = b"repro data manifest 1\n"

_SPECIAL = re.compile(rb"[\x00-\x1f\x7f\\]")
_ESCAPE = re.compile(rb"\\x([0-9a-f]{2})")
_KINDS = ("file", "executable", "link")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of a manifest. `path` and `target` are as written there, `digest` is None for a link."""

    path: str
    kind: str
    size: int
    digest: Digest | None
    target: str = ""


def escape(name: bytes) -> bytes:
    r"""Return a path as a manifest writes it: valid UTF-8 in one line, with `\xHH` for what cannot stand there."""
    if not _SPECIAL.search(name):
        try:
            name.decode()
        except UnicodeDecodeError:
            pass
        else:
            return name
    plain = _SPECIAL.sub(lambda match: b"\\x%02x" % match[0][0], name)
    return plain.decode("utf-8", "backslashreplace").encode()


def escape_all(names: Sequence[bytes]) -> Sequence[bytes]:
    """Return each path as a manifest writes it."""
    together = b"/".join(names)
    return names if escape(together) == together else [escape(name) for name in names]


def unescape(text: bytes) -> bytes:
    """Return the path that `escape` wrote."""
    return _ESCAPE.sub(lambda match: bytes.fromhex(match[1].decode()), text)


def parse(content: bytes) -> dict[str, Entry]:
    """Read a manifest into its entries by path. Errors: `ValueError` with the line that is not one of a manifest."""
    if not content.startswith(FIRST_LINE):
        raise ValueError("not a data manifest of version 1")
    lines = content[len(FIRST_LINE) :].decode().split("\n")[:-1]
    return {entry.path: entry for entry in map(_entry, lines)}


def text(entries: Iterable[Entry]) -> bytes:
    """Return the manifest of these entries, whatever their order."""
    ordered = sorted(entries, key=lambda entry: unescape(entry.path.encode()))
    return FIRST_LINE + b"".join(map(_line, ordered))


def _line(entry: Entry) -> bytes:
    size, digest = ("0", "-") if entry.digest is None else (str(entry.size), entry.digest.hex)
    fields = [entry.kind, size, digest, entry.path, *([entry.target] if entry.kind == "link" else [])]
    return "\t".join(fields).encode() + b"\n"


def _entry(line: str) -> Entry:
    fields = line.split("\t")
    kind = fields[0]
    if kind not in _KINDS or len(fields) != (5 if kind == "link" else 4):
        raise ValueError(f"not a line of a data manifest: {line!r}")
    digest = None if kind == "link" else Digest(fields[2])
    return Entry(path=fields[3], kind=kind, size=int(fields[1]), digest=digest, target="".join(fields[4:]))


def differences(before: Mapping[str, Entry], after: Mapping[str, Entry]) -> list[str]:
    """Return in words what changed from one manifest to another, one file a line, sorted by path."""
    gone, new = before.keys() - after.keys(), after.keys() - before.keys()
    renamed = dict(_renamed(before, after, gone, new))
    said = {new_path: f"{old_path} is now {new_path}" for old_path, new_path in renamed.items()}
    said |= {path: f"{path} is missing" for path in gone - renamed.keys()}
    said |= {path: f"{path} is new" for path in new - set(renamed.values())}
    common = before.keys() & after.keys()
    said |= {path: f"{path} {_change(before[path], after[path])}" for path in common if before[path] != after[path]}
    return [said[path] for path in sorted(said)]


def _renamed(
    before: Mapping[str, Entry], after: Mapping[str, Entry], gone: Iterable[str], new: Iterable[str]
) -> Iterable[tuple[str, str]]:
    """Yield the pairs of paths that hold one content, where there is no doubt which became which."""
    olds, news = _by_content(before, gone), _by_content(after, new)
    for content, paths in olds.items():
        if len(paths) == 1 and len(news.get(content, ())) == 1:
            yield paths[0], news[content][0]


def _by_content(entries: Mapping[str, Entry], paths: Iterable[str]) -> dict[Digest, list[str]]:
    found: dict[Digest, list[str]] = {}
    for path in paths:
        digest = entries[path].digest
        if digest and entries[path].size:
            found.setdefault(digest, []).append(path)
    return found


def _change(before: Entry, after: Entry) -> str:
    if "link" in (before.kind, after.kind):
        return f"was {_kind_in_words(before)} and is {_kind_in_words(after)}"
    if before.digest != after.digest:
        if before.size != after.size:
            return f"has another content: {before.size:,} bytes then, {after.size:,} now"
        return f"has another content of the same {after.size:,} bytes"
    return "became executable" if after.kind == "executable" else "is no longer executable"


def _kind_in_words(entry: Entry) -> str:
    return f"a link to {entry.target}" if entry.kind == "link" else "a file"
