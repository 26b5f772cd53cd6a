"""As much of X.509 as the name of a hash link needs: a certificate's subject, in OpenSSL's canonical form.

Source: ITU-T X.690 (DER); RFC 5280, section 4.1 ("Basic Certificate Fields"); openssl-rehash(1); the canonical form
is that of OpenSSL's `X509_NAME_hash`: string values as UTF-8, in lower case as far as they are
ASCII, with runs of spaces as one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from repro_env.frozen import dataclass

_SEQUENCE, _SET, _VERSION = 0x30, 0x31, 0xA0
_UTF8 = 0x0C
_ENCODINGS = {
    _UTF8: "utf-8",
    0x13: "ascii",  # PrintableString
    0x14: "latin-1",  # T61String, which OpenSSL reads as Latin-1
    0x16: "ascii",  # IA5String
    0x1A: "ascii",  # VisibleString
    0x1C: "utf-32-be",  # UniversalString
    0x1E: "utf-16-be",  # BMPString
}
_LONG_FORM = 0x80


@dataclass(frozen=True, slots=True)
class Value:
    """One DER value: its tag, its content, and the whole of it as encoded."""

    tag: int
    content: bytes
    encoded: bytes


def values(data: bytes) -> Iterator[Value]:
    """Yield the values that stand one after the other. Errors: `ValueError` if they do not fill `data`."""
    place = 0
    while place < len(data):
        start = place
        if len(data) < place + 2:
            raise ValueError("a DER value is cut short")
        tag, size = data[place], data[place + 1]
        place += 2
        if size >= _LONG_FORM:
            width = size - _LONG_FORM
            size = int.from_bytes(data[place : place + width], "big")
            place += width
        if len(data) < place + size:
            raise ValueError("a DER value is cut short")
        yield Value(tag, data[place : place + size], data[start : place + size])
        place += size


def encode(tag: int, content: bytes) -> bytes:
    """Return a DER value."""
    size = len(content)
    if size < _LONG_FORM:
        return bytes([tag, size]) + content
    width = (size.bit_length() + 7) // 8
    return bytes([tag, _LONG_FORM + width]) + size.to_bytes(width, "big") + content


def subject_hash(certificate: bytes) -> str:
    """Return the eight digits that OpenSSL looks a certificate up by. Errors: `ValueError` for what is not one."""
    try:
        (whole,) = values(certificate)
        body = list(values(next(values(whole.content)).content))
        subject = body[5 if body[0].tag == _VERSION else 4]  # version, serial, algorithm, issuer, validity, subject
        canonical = b"".join(_canonical_set(part) for part in values(subject.content))
    except (IndexError, StopIteration) as error:
        raise ValueError("it is not a certificate") from error
    digest = hashlib.sha1(canonical, usedforsecurity=False).digest()
    return f"{int.from_bytes(digest[:4], 'little'):08x}"


def _canonical_set(name: Value) -> bytes:
    attributes = sorted(_canonical_attribute(attribute) for attribute in values(name.content))
    return encode(_SET, b"".join(attributes))


def _canonical_attribute(attribute: Value) -> bytes:
    kind, value = values(attribute.content)
    encoding = _ENCODINGS.get(value.tag)
    if encoding is None:
        return attribute.encoded
    words = value.content.decode(encoding).encode().split()
    return encode(_SEQUENCE, kind.encoded + encode(_UTF8, b" ".join(words).lower()))
