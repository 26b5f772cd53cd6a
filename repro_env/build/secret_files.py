"""Files that hold secrets and that people forget: found by their names, and where names say too little, by content.

A secret in an image is a secret for everyone who can pull it, and for as long as a layer lives. What is found here is
left out of a step's code unless the project names that very file. It is a net with holes, no proof: a secret in
`config.py` is not seen.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from repro_env.edges.report import Reporter
from repro_env.frozen import dataclass

_HEAD = 1 << 16
"""Bytes that are looked at: keys and credentials are small, and stand at a file's beginning."""

_ENV_FILE = re.compile(r"\.env(?:\..+)?\Z|.+\.env\Z")
_ENV_PATTERN = re.compile(r"\.(?:example|sample|template|dist|tmpl|defaults?)\Z")
_SSH_KEY = re.compile(r"id_(?:rsa|dsa|ecdsa|ed25519)(?:_sk)?\Z")
_KUBECONFIG = re.compile(r"(?:.+\.)?kubeconfig(?:\.ya?ml)?\Z")

_NAMES = {
    ".git-credentials": "credentials of git",
    ".htpasswd": "passwords of a web server",
    ".netrc": "credentials for hosts",
    "_netrc": "credentials for hosts",
    ".pgpass": "passwords of PostgreSQL",
    ".pypirc": "credentials of a package index",
    ".vault-token": "a token of Vault",
    "credentials.json": "credentials",
    "client_secret.json": "credentials of an OAuth client",
    "kaggle.json": "a token of Kaggle",
}
_PLACES = {  # by the last two parts of the path
    ".aws/credentials": "credentials of AWS",
    ".azure/accessTokens.json": "tokens of Azure",
    ".gcloud/application_default_credentials.json": "credentials of Google Cloud",
    ".huggingface/token": "a token of Hugging Face",
    "huggingface/token": "a token of Hugging Face",
    ".kube/config": "credentials of a Kubernetes cluster",
    ".streamlit/secrets.toml": "secrets of Streamlit",
}
_KEY_STORES = (".p12", ".pfx", ".jks", ".keystore", ".kdbx", ".ppk")
_CONTENTS: Sequence[tuple[re.Pattern[str], re.Pattern[bytes], str]] = (
    # the path's end, the content, what it is
    (re.compile(r"\.(?:pem|key|p8|crt|cer)\Z"), re.compile(rb"PRIVATE KEY-----"), "a private key"),
    (re.compile(r"\.json\Z"), re.compile(rb'"private_key"\s*:'), "a key of a service account"),
    (re.compile(r"(?:\A|/)\.npmrc\Z"), re.compile(rb"(?m)^[^#;\n]*(?:_auth|_password)"), "a token of npm"),
    (re.compile(r"(?:\A|/)\.yarnrc\.yml\Z"), re.compile(rb"npmAuth(?:Token|Ident)"), "a token of npm"),
    (re.compile(r"(?:\A|/)\.docker/config\.json\Z"), re.compile(rb'"auth"\s*:'), "credentials of a registry"),
    (re.compile(r"(?:\A|/)(?:pip\.conf|uv\.toml)\Z"), re.compile(rb"://[^/\s:@]+:[^/\s@]+@"), "an index's password"),
    (re.compile(r"(?:\A|/)credentials(?:\.csv)?\Z"), re.compile(rb"(?i)aws_secret|secret access key"), "keys of AWS"),
)


@dataclass(frozen=True, slots=True, order=True)
class Secret:
    """One file that looks like a secret: its path in the project, what it seems to be, and whether it is left out."""

    path: str
    what: str
    left_out: bool


def secret_in(path: str, head: Callable[[int], bytes]) -> str:
    """Return what secret a file seems to hold, or nothing. `head` gives its first so many bytes, and is seldom asked.

    `path` is the file's in the project, with `/` between its parts.
    """
    name = path.rpartition("/")[2]
    if _ENV_FILE.match(name):
        return "" if _ENV_PATTERN.search(name) else "variables for a program, often with passwords"
    if _SSH_KEY.match(name):
        return "a private key of SSH"
    if name.endswith(_KEY_STORES):
        return "a store of keys"
    if _KUBECONFIG.match(name):
        return "credentials of a Kubernetes cluster"
    known = _NAMES.get(name) or _PLACES.get("/".join(path.split("/")[-2:]))
    return known or _by_content(path, head)


def _by_content(path: str, head: Callable[[int], bytes]) -> str:
    asked = [(content, what) for end, content, what in _CONTENTS if end.search(path)]
    if not asked:
        return ""
    beginning = head(_HEAD)
    return next((what for content, what in asked if content.search(beginning)), "")


def warn_of_secrets(found: Sequence[Secret], report: Reporter) -> None:
    """Say once what looks like a secret: what was left out, and what goes into an image because `code` names it."""
    unique = sorted(set(found))
    left_out = [f"  {one.path}: {one.what}" for one in unique if one.left_out]
    if left_out:
        hint = "to have one all the same, name that very file in the step's `code`"
        report.warn("\n".join(["left out of the steps' code, because they look like secrets:", *left_out, f"  {hint}"]))
    included = [f"  {one.path}: {one.what}" for one in unique if not one.left_out]
    if included:
        hint = "whoever can pull the image can read them; mount them, or pass them as data, instead"
        report.warn("\n".join(["`code` names files that look like secrets:", *included, f"  {hint}"]))
