"""The tables `[data.NAME]` of a lock: written, read back, and held against the project."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from repro_env.config import checks
from repro_env.config.model import Data
from repro_env.lock import toml_text as toml
from repro_env.lock import words
from repro_env.lock.fields import Fields
from repro_env.lock.model import LockedData
from repro_env.values import Digest, check_identifier

_TEXTS = ("uri", "revision", "query", "connection")
_ASKED = ("source", *_TEXTS)


def asked(data: Data) -> Mapping[str, Any]:
    """Return what decides a data input's pins, as its digest in `[inputs]` is made of it."""
    found: dict[str, Any] = {"path": data.path}
    # A key is here only where it is used, so that one of a later version makes no lock stale.
    found |= {key: getattr(data, key) for key in _ASKED if getattr(data, key)}
    found |= {key: list(getattr(data, key)) for key in ("include", "exclude") if getattr(data, key)}
    if data.pin != "content":
        found["pin"] = data.pin
    return {**found, "options": dict(data.options)} if data.options else found


def data_lines(data: LockedData) -> Iterator[str]:
    """Yield the lines of one table."""
    yield toml.header("data", data.name)
    yield f"path = {toml.string(data.path)}"
    if data.source != "path":
        yield f"source = {toml.string(data.source)}"
    yield from (f"{key} = {toml.string(getattr(data, key))}" for key in _TEXTS if getattr(data, key))
    yield from (f"{key} = {toml.array(globs)}" for key, globs in _globs(data).items() if globs)
    if data.options:
        yield f"options = {toml.inline(data.options, in_order=False)}"
    yield f"kind = {toml.string(data.kind)}"
    if data.pin != "sha256":
        yield f"pin = {toml.string(data.pin)}"
    yield f"digest = {toml.string(str(data.digest))}"
    if data.content is not None:
        yield f"content = {toml.string(str(data.content))}"
    yield f"files = {data.files}"
    yield f"size = {data.size}"


def read_data(name: str, fields: Fields) -> LockedData:
    """Return what one table holds. Errors: `InvalidLockError`."""
    source = fields.parsed("source", check_identifier) if fields.has("source") else "path"
    pin = fields.parsed("pin", words.pin) if fields.has("pin") else "sha256"
    if pin == "sha256" and fields.has("content"):
        raise fields.fail("content", "stands beside a pin that is weaker than the content's SHA-256, and only there")
    data = LockedData(
        name=name,
        path=fields.parsed("path", words.absolute if source == "file" else checks.inside_path),
        source=source,
        uri=_text(fields, "uri", checks.data_uri),
        revision=_text(fields, "revision", checks.printable),
        query=_text(fields, "query", checks.word),
        connection=_text(fields, "connection", checks.variable_name),
        include=fields.texts("include", check=checks.glob) if fields.has("include") else (),
        exclude=fields.texts("exclude", check=checks.glob) if fields.has("exclude") else (),
        options=_options(fields) if fields.has("options") else {},
        kind=fields.parsed("kind", words.data_kind),
        pin=pin,
        digest=fields.parsed("digest", Digest.parse),
        content=fields.parsed("content", Digest.parse) if fields.has("content") else None,
        files=fields.number("files"),
        size=fields.number("size"),
    )
    fields.done()
    return data


def data_change(data: Data, locked: LockedData, *, same_request: bool) -> str:
    """Return in what a locked data input is not what is asked for, or nothing."""
    if data.kind == locked.source == "path" and locked.path != data.path:
        return f"path changed from {locked.path} to {data.path}"
    return "" if same_request else _request_change(data, locked)


def _request_change(data: Data, locked: LockedData) -> str:
    for what, before, after in (("source", locked.source, data.kind), ("uri", locked.uri, data.uri)):
        if before != after:
            return f"{what} changed from {before or 'none'} to {after or 'none'}"
    if _globs(data) != _globs(locked):
        return "include or exclude changed"
    return "was never pinned by this lock" if data.kind == "path" else "what is asked of its source changed"


def _globs(data: Data | LockedData) -> Mapping[str, tuple[str, ...]]:
    return {"include": data.include, "exclude": data.exclude}


def _text(fields: Fields, key: str, check: Any) -> str:
    def checked(text: str) -> str:
        check(text)
        return text

    return fields.parsed(key, checked) if fields.has(key) else ""


def _options(fields: Fields) -> Mapping[str, str]:
    return fields.text_map("options", check_name=checks.option_name, check=checks.word)
