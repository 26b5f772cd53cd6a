from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from debmaker import Signer
from pysequoia import Cert

from repro_env.errors import IntegrityError
from repro_env.resolve.debian.release import (
    Release,
    check_current,
    debian_certificates,
    parse_snapshot_date,
    read_release,
)
from repro_env.values import Digest

HEX = "ab" * 32
TEXT = f"""\
Origin: Debian
Codename: bookworm
Date: Sat, 11 Jul 2026 10:16:37 UTC
Valid-Until: Sat, 18 Jul 2026 10:16:37 UTC
Acquire-By-Hash: yes
SHA256:
 {HEX} 1234 main/binary-amd64/Packages.xz
 {HEX}        9 main/binary-arm64/Packages
"""
PLACE = "http://mirror.invalid/debian/dists/bookworm/InRelease"


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer()


def read(signer: Signer, data: bytes, codename: str = "bookworm") -> Release:
    return read_release(data, place=PLACE, codename=codename, certificates=[signer.certificate])


def test_a_good_release(signer: Signer) -> None:
    data = signer.sign(TEXT)
    release = read(signer, data)
    assert release.digest == Digest.of(data)
    assert release.snapshot == "20260711T101637Z"
    assert release.date == parse_snapshot_date(release.snapshot) == datetime(2026, 7, 11, 10, 16, 37, tzinfo=UTC)
    assert release.by_hash
    assert {path: (str(file.sha256), file.size) for path, file in release.files.items()} == {
        "main/binary-amd64/Packages.xz": (f"sha256:{HEX}", 1234),
        "main/binary-arm64/Packages": (f"sha256:{HEX}", 9),
    }


def test_what_is_not_signed_is_not_seen(signer: Signer) -> None:
    data = b"Codename: evil\n\n" + signer.sign(TEXT) + b"\nCodename: evil\n"
    assert read(signer, data).codename == "bookworm"


def refusal(signer: Signer, data: bytes, codename: str = "bookworm") -> str:
    with pytest.raises(IntegrityError) as caught:
        read(signer, data, codename)
    text = str(caught.value)
    assert "Traceback" not in text
    assert "backtrace" not in text
    return text


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data.replace(b"1234", b"1235"),
        lambda data: data[: len(data) // 2],
        lambda data: data[:-200],
        lambda _data: TEXT.encode(),
        lambda _data: b"",
        lambda _data: b"<html>captive portal</html>",
        lambda data: data.replace(b"-----BEGIN PGP SIGNATURE-----", b"-----BEGIN PGP MESSAGE-----"),
    ],
)
def test_a_tampered_release_is_refused(signer: Signer, damage: object) -> None:
    assert callable(damage)
    assert f"{PLACE} is not signed by Debian" in refusal(signer, damage(signer.sign(TEXT)))


def test_an_unknown_key_is_refused(signer: Signer) -> None:
    assert "is not signed by Debian" in refusal(signer, Signer().sign(TEXT))


def test_debians_own_certificates_refuse_a_strangers_signature(signer: Signer) -> None:
    assert len(debian_certificates()) == 6
    with pytest.raises(IntegrityError, match="is not signed by Debian"):
        read_release(signer.sign(TEXT), place=PLACE, codename="bookworm")


def test_an_expired_key_is_refused(signer: Signer) -> None:
    expired = signer.certificate.set_expiration(datetime.now(UTC) - timedelta(seconds=20), signer.secret.certifier())
    with pytest.raises(IntegrityError, match="is not signed by Debian"):
        read_release(signer.sign(TEXT), place=PLACE, codename="bookworm", certificates=[expired])


def test_a_revoked_key_is_refused(signer: Signer) -> None:
    revoked = Cert.from_bytes(bytes(signer.certificate) + bytes(signer.certificate.revoke(signer.secret.certifier())))
    with pytest.raises(IntegrityError, match="is not signed by Debian"):
        read_release(signer.sign(TEXT), place=PLACE, codename="bookworm", certificates=[revoked])


def test_another_suite_is_refused(signer: Signer) -> None:
    text = refusal(signer, signer.sign(TEXT), codename="stable")
    assert "is of the suite bookworm, not stable" in text
    assert 'debian = "bookworm"' in text


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Date: Sat, 11 Jul", "Date: someday"),
        ("Date:", "Day:"),
        ("SHA256:", "MD5Sum:"),
        (" 1234 ", " many "),
        (HEX, "0"),
    ],
)
def test_signed_nonsense_is_refused(signer: Signer, before: str, after: str) -> None:
    assert "cannot be read" in refusal(signer, signer.sign(TEXT.replace(before, after)))


def test_time(signer: Signer) -> None:
    release = read(signer, signer.sign(TEXT))
    assert release.valid_until is not None
    check_current(release, place=PLACE, now=release.date)
    check_current(release, place=PLACE, now=release.valid_until)
    with pytest.raises(IntegrityError, match="was valid until 2026-07-18 10:16 UTC"):
        check_current(release, place=PLACE, now=release.valid_until + timedelta(seconds=1))
    with pytest.raises(IntegrityError, match="is dated in the future"):
        check_current(release, place=PLACE, now=release.date - timedelta(days=2))


def test_a_release_without_an_end_stays_valid(signer: Signer) -> None:
    text = "".join(line for line in TEXT.splitlines(keepends=True) if not line.startswith("Valid-Until"))
    check_current(read(signer, signer.sign(text)), place=PLACE, now=datetime(2040, 1, 1, tzinfo=UTC))
