"""urllib3's connection pools, set up with the user's proxies and certificate authorities."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

import urllib3

from repro_env.errors import FetchError
from repro_env.values import strip_credentials

_BUNDLE_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Alpine, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",  # macOS, BSD
)


def make_pool(
    proxy: str, environ: Mapping[str, str], *, tls: bool, connections: int, certificates: Path | None = None
) -> urllib3.PoolManager:
    """Return a pool that connects through `proxy`, or directly if that is empty; `tls` if it is for `https:`.

    `connections` are kept open for each host. `certificates` is a directory as Docker's `certs.d` has one a registry:
    authorities in `*.crt`, the client's own in `NAME.cert` and `NAME.key`.
    Errors: `FetchError` for a proxy or a certificate that is no use.
    """
    # Reading the system's certificates takes longer than many a download.
    context = _tls_context(environ) if tls or proxy.startswith("https:") else None
    if context is not None and certificates is not None:
        _add_certificates(context, certificates)
    if not proxy:
        return urllib3.PoolManager(maxsize=connections, ssl_context=context)
    parts = _proxy_parts(proxy)
    if parts.scheme not in ("http", "https"):
        raise FetchError(
            f"cannot use the proxy {strip_credentials(parts.geturl())}", "only http: and https: proxies are supported"
        )
    address = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    headers = None
    if parts.username is not None:
        headers = urllib3.make_headers(proxy_basic_auth=f"{unquote(parts.username)}:{unquote(parts.password or '')}")
    return urllib3.ProxyManager(address, proxy_headers=headers, maxsize=connections, ssl_context=context)


def _proxy_parts(proxy: str) -> SplitResult:
    """Return the address of a proxy, which people may write without its scheme. Errors: `FetchError` for none."""
    try:
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        named = bool(parts.hostname) and parts.port != 0
    except ValueError:
        named = False
    if not named:
        hint = "let HTTPS_PROXY, HTTP_PROXY or ALL_PROXY name one such as http://proxy.example:3128, or unset it"
        raise FetchError("cannot use the proxy that the environment names", "it is not an address", hint)
    return parts


def proxy_of(parts: SplitResult, environ: Mapping[str, str]) -> str:
    """Return the proxy for a URL as curl chooses it, or an empty text.

    In a CGI program `HTTP_PROXY` is the client's to set (httpoxy), so there only `http_proxy` counts.
    """
    if _bypassed(parts, environ.get("no_proxy", environ.get("NO_PROXY", ""))):
        return ""
    for name in (f"{parts.scheme}_proxy", "all_proxy"):
        upper = "" if _is_cgi(name, environ) else environ.get(name.upper(), "")
        if proxy := environ.get(name) or upper:
            return proxy
    return ""


def _is_cgi(name: str, environ: Mapping[str, str]) -> bool:
    return name == "http_proxy" and "REQUEST_METHOD" in environ


def _bypassed(parts: SplitResult, exceptions: str) -> bool:
    host, place = parts.hostname or "", parts.netloc.rpartition("@")[2].lower()
    words = [word.strip().lstrip(".").lower() for word in exceptions.split(",")]
    return any(word == "*" or (word and (word in (host, place) or host.endswith(f".{word}"))) for word in words)


def _tls_context(environ: Mapping[str, str]) -> ssl.SSLContext:
    bundle = next((environ[name] for name in _BUNDLE_VARIABLES if environ.get(name)), None)
    if bundle is None and not _has_default():
        bundle = next((name for name in _SYSTEM_BUNDLES if os.path.isfile(name)), None) or _carried_bundle()
    try:
        if bundle is not None and os.path.isdir(bundle):
            return ssl.create_default_context(capath=bundle)
        return ssl.create_default_context(cafile=bundle)
    except OSError as error:
        raise FetchError(
            f"cannot use the certificate bundle {bundle}",
            str(error),
            "let SSL_CERT_FILE name a file of PEM certificates, or unset it",
        ) from error


def _add_certificates(context: ssl.SSLContext, directory: Path) -> None:
    """Source: https://docs.docker.com/engine/security/certificates/."""
    try:
        for authority in sorted(directory.glob("*.crt")):
            context.load_verify_locations(cafile=authority)
        for own in sorted(directory.glob("*.cert")):
            context.load_cert_chain(own, own.with_suffix(".key"))
    except OSError as error:
        raise FetchError(f"cannot use the certificates in {directory}", str(error)) from error


def system_has_certificates() -> bool:
    """Whether this machine has certificate authorities of its own, which then count for uv as well."""
    return _has_default() or any(map(os.path.isfile, _SYSTEM_BUNDLES))


def _carried_bundle() -> str:
    """Return Mozilla's authorities as certifi carries them, for a machine so bare that it has none."""
    import certifi  # noqa: PLC0415 - rarely needed

    return certifi.where()


def _has_default() -> bool:
    # A standalone build of Python looks where its build machine kept them, which may be nowhere here.
    paths = ssl.get_default_verify_paths()
    return bool(paths.cafile or paths.capath)
