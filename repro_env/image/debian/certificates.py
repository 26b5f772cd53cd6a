"""The trusted certificates as `update-ca-certificates` leaves them: a bundle, a link for each, OpenSSL's hash links.

Source: update-ca-certificates(8) and openssl-rehash(1).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections import defaultdict

from repro_env.errors import BuildError
from repro_env.image.debian.der import subject_hash
from repro_env.image.debian.tree import Node, Tree

_SOURCE = "usr/share/ca-certificates"
_TARGET = "etc/ssl/certs"
_CERTIFICATE = re.compile(
    rb"-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----\s(.*?)-----END (?:TRUSTED |X509 )?CERTIFICATE-----", re.DOTALL
)
_CONFIGURATION = """\
# This file lists certificates that you wish to use or to ignore to be
# installed in /etc/ssl/certs.
# update-ca-certificates(8) will update /etc/ssl/certs by reading this file.
#
"""


def install_certificates(tree: Tree) -> None:
    """Trust every certificate that packages bring, in the order of their names.

    Errors: `BuildError` for a malformed one.
    """
    sources = sorted(
        (node for node in tree.nodes.values() if node.path.startswith(f"{_SOURCE}/") and node.path.endswith(".crt")),
        key=lambda node: node.path.encode(),
    )
    if not sources:
        return
    names = [node.path.removeprefix(f"{_SOURCE}/") for node in sources]
    tree.file("etc/ca-certificates.conf", (_CONFIGURATION + "".join(f"{name}\n" for name in names)).encode())
    tree.directory("usr/local/share/ca-certificates")
    bundle = []
    links: dict[str, Node] = {}
    for node in sources:
        text = node.read()
        bundle.append(text if text.endswith(b"\n") else text + b"\n")
        links[_link_name(node.path)] = node
    tree.file(f"{_TARGET}/ca-certificates.crt", b"".join(bundle))
    for link, node in links.items():
        tree.symlink(f"{_TARGET}/{link}", f"/{node.path}")
    for name, target in _hash_links(links).items():
        tree.symlink(f"{_TARGET}/{name}", target)


def _link_name(path: str) -> str:
    stem = path.rpartition("/")[2].removesuffix(".crt")
    return re.sub(r"[ ,]", "_", re.sub(r"[()]", "=", stem)) + ".pem"


def _hash_links(links: dict[str, Node]) -> dict[str, str]:
    """Return OpenSSL's names for the certificates, `HASH.0` and on, each leading to a link beside it."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for link in sorted(links, key=str.encode):
        certificate = _single_certificate(links[link])
        if certificate is not None:
            fingerprint = hashlib.sha256(certificate).hexdigest()
            found[subject_hash(certificate)].setdefault(fingerprint, link)
    return {f"{name}.{place}": link for name, same in found.items() for place, link in enumerate(same.values())}


def _single_certificate(node: Node) -> bytes | None:
    """Return the certificate of a file that holds exactly one; OpenSSL links no other."""
    found = _CERTIFICATE.findall(node.read())
    if len(found) != 1:
        return None
    try:
        certificate = base64.b64decode(found[0])
        subject_hash(certificate)
    except (ValueError, binascii.Error) as error:
        raise BuildError(f"/{node.path} of {node.package} is not a certificate", str(error)) from error
    return certificate
