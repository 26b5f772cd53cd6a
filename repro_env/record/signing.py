"""Signatures of run records: DSSE envelopes over the record's bytes, beside the record.

Keys are PEM files: Ed25519, ECDSA or RSA, as `openssl genpkey -algorithm ed25519` makes them. An envelope is read by
any tool that reads in-toto's. Source: https://github.com/secure-systems-lab/dsse/blob/master/envelope.md.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from repro_env.edges.files import os_errors, write_atomically
from repro_env.errors import IntegrityError, ToolError, UsageError
from repro_env.frozen import dataclass
from repro_env.record.model import RunRecord
from repro_env.record.runs import RECORD
from repro_env.record.statement import manifest_name
from repro_env.values import Digest

ENVELOPE = f"{RECORD}.dsse"
PAYLOAD_TYPE = "application/vnd.in-toto+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What holding a record against its signature and its files found.

    `signers` are the ids of the keys that signed it, `problems` what is not as it should be, in words.
    """

    signers: tuple[str, ...]
    problems: tuple[str, ...]


def sign_record(directory: Path, key: Path, password: str = "") -> None:
    """Sign the record in a run's directory with the private key in a file; the envelope stands beside the record.

    Errors: `UsageError` for what is no key, `ToolError` without the extra `sign`, `StoreError`.
    """
    signing = _library()
    with os_errors(f"read {key}"):
        pem = key.read_bytes()
    with os_errors(f"read {directory / RECORD}"):
        payload = (directory / RECORD).read_bytes()
    try:
        private = signing.load_private(pem, password.encode() or None)
        signer = signing.signer(private)
    except (ValueError, TypeError, signing.unsupported) as error:
        hint = "make one: openssl genpkey -algorithm ed25519 -out KEY.pem"
        raise UsageError(f"{key} is not a private key that can sign", str(error), hint) from error
    envelope = signing.envelope(payload, PAYLOAD_TYPE, {})
    envelope.sign(signer)
    write_atomically(directory / ENVELOPE, (json.dumps(envelope.to_dict(), indent=2) + "\n").encode())


def check_record(directory: Path, record: RunRecord, keys: Sequence[Path]) -> Checked:
    """Hold a record against its envelope, by these public keys, and against the files that it names by digest.

    Without keys the signature is left alone. Errors: `UsageError` for what is no key, `IntegrityError` for what is no
    envelope, `ToolError` without the extra `sign`, `StoreError`.
    """
    problems = list(_wrong_files(directory, record))
    if not keys:
        return Checked(signers=(), problems=tuple(problems))
    if not (directory / ENVELOPE).exists():
        return Checked(signers=(), problems=(*problems, "the record is not signed"))
    signers, wrong = _signed_by(directory, keys)
    return Checked(signers=signers, problems=(*problems, *wrong))


def _signed_by(directory: Path, keys: Sequence[Path]) -> tuple[tuple[str, ...], list[str]]:
    signing = _library()
    public = [_public(signing, path) for path in keys]
    with os_errors(f"read {directory / ENVELOPE}"):
        text = (directory / ENVELOPE).read_bytes()
        payload = (directory / RECORD).read_bytes()
    try:
        envelope = signing.envelope.from_dict(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise IntegrityError(f"{directory / ENVELOPE} is not a DSSE envelope", str(error)) from error
    wrong = [] if envelope.payload_type == PAYLOAD_TYPE else [f"its signature is of {envelope.payload_type}"]
    wrong += [] if envelope.payload == payload else ["the record is not the one that was signed"]
    try:
        accepted = envelope.verify(public, 1)
    except signing.unverified:
        return (), [*wrong, "none of the keys given signed it"]
    return tuple(accepted), wrong


def _public(signing: Any, path: Path) -> Any:
    with os_errors(f"read {path}"):
        pem = path.read_bytes()
    try:
        return signing.public(signing.load_public(pem))
    except (ValueError, TypeError, signing.unsupported) as error:
        hint = "write it from the private one: openssl pkey -in KEY.pem -pubout"
        raise UsageError(f"{path} is not a public key", str(error), hint) from error


def _wrong_files(directory: Path, record: RunRecord) -> Iterator[str]:
    """Yield which files beside the record are not those that it names."""
    expected = {
        "repro.lock": record.lock,
        "code.diff": record.git.diff if record.git else None,
        "output.log": record.log.digest if record.log else None,
        **{manifest_name(made): made.digest for made in record.outputs if made.kind == "directory"},
    }
    for name, digest in expected.items():
        if digest is None:
            continue
        path = directory / name
        if not path.exists():
            yield f"{name} is missing"
        elif _digest(path) != digest:
            yield f"{name} is not the file that was recorded"


def _digest(path: Path) -> Digest:
    with os_errors(f"read {path}"), path.open("rb") as stream:
        return Digest(hashlib.file_digest(stream, "sha256").hexdigest())


class _Library:
    """What of securesystemslib and cryptography is used."""

    def __init__(self) -> None:
        from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - an extra
        from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415 - an extra
            load_pem_private_key,
            load_pem_public_key,
        )
        from securesystemslib import signer  # noqa: PLC0415 - an extra
        from securesystemslib.dsse import Envelope  # noqa: PLC0415 - an extra
        from securesystemslib.exceptions import VerificationError  # noqa: PLC0415 - an extra

        self.envelope = Envelope
        names = vars(signer)  # which these two are not in by its types
        self.signer = names["CryptoSigner"]
        self.public = names["SSlibKey"].from_crypto
        self.load_private = load_pem_private_key
        self.load_public = load_pem_public_key
        self.unverified = VerificationError
        self.unsupported = UnsupportedAlgorithm


def _library() -> Any:
    try:
        return _Library()
    except ImportError as error:
        hint = "install it: pip install 'repro-env[sign]'"
        raise ToolError("signing needs the packages of the extra `sign`", str(error), hint) from error
