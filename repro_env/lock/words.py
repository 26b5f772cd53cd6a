"""What a single value of a lock may be. Each function raises `ValueError` with what was expected."""

from __future__ import annotations

import posixpath
import re

from repro_env.values import ImageReference, normalise_name

_WHEEL_FILE = re.compile(r"[^/\\\x00-\x1f]+\.whl\Z")
_SOURCE_FILE = re.compile(r"[^/\\\x00-\x1f]+\.(?:tar\.gz|zip)\Z")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9.!+:~_-]*\Z")  # of PEP 440 and of Debian Policy, 5.6
_PLACE = re.compile(r"(?:/[^/\x00-\x1f\x7f]+)+\Z")
_DATE = re.compile(r"\d{8}T\d{6}Z\Z")
_PIN = re.compile(r"[a-z][a-z0-9-]*\Z")
_DATA_KINDS = ("file", "directory")


def normalised(name: str) -> str:
    """Return a distribution's name, which has to be normalised (PEP 503)."""
    if normalise_name(name) != name:
        raise ValueError(f'expected the normalised name "{normalise_name(name)}", found "{name}"')
    return name


def word(text: str) -> str:
    """Return a package's name, version or architecture."""
    if not _WORD.match(text):
        raise ValueError(f"expected a package's name, version or architecture, found {text!r}")
    return text


def reference(text: str) -> str:
    """Return a reference to an image."""
    ImageReference.parse(text)
    return text


def absolute(text: str) -> str:
    """Return an absolute path in an image."""
    if not _PLACE.match(text):
        raise ValueError(f"expected an absolute path, found {text!r}")
    return text


def env_name(name: str) -> None:
    """Check a variable's name as an image may have it: what a shell could not write is allowed."""
    if not name or "=" in name or "\0" in name:
        raise ValueError(f"{name!r} is not the name of an environment variable")


def wheel_file(name: str) -> str:
    """Return a wheel's file name."""
    if not _WHEEL_FILE.match(name):
        raise ValueError(f"expected a wheel's file name, found {name!r}")
    return name


def date(text: str) -> str:
    """Return a snapshot's date."""
    if not _DATE.match(text):
        raise ValueError(f"expected a date such as 20250131T120000Z, found {text!r}")
    return text


def data_kind(text: str) -> str:
    """Return what a data input is."""
    if text not in _DATA_KINDS:
        raise ValueError(f"expected {' or '.join(_DATA_KINDS)}, found {text!r}")
    return text


def pin(text: str) -> str:
    """Return what a data input's digest is made of."""
    if not _PIN.match(text):
        raise ValueError(f"expected the name of a pin such as sha256 or etag, found {text!r}")
    return text


def source_file(name: str) -> str:
    """Return a source distribution's file name."""
    if not _SOURCE_FILE.match(name):
        raise ValueError(f"expected the file name of a source distribution, found {name!r}")
    return name


def local_path(text: str) -> str:
    """Return a local package's directory in its one spelling: relative to the project, and perhaps out of it."""
    if not text or text.startswith("/") or "\0" in text or posixpath.normpath(text) != text:
        raise ValueError(f"expected a path relative to the project in its shortest spelling, found {text!r}")
    return text
