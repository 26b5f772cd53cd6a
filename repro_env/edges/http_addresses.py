"""Where a request goes: what is an address, and where a redirect may lead."""

from __future__ import annotations

from urllib.parse import SplitResult, urljoin, urlsplit

from repro_env.edges.http_errors import unsupported
from repro_env.values import strip_credentials

_REDIRECTING = frozenset({301, 302, 303, 307, 308})
_KEEPING_THE_METHOD = frozenset({307, 308})  # RFC 9110, sections 15.4.8 and 15.4.9


def split_address(url: str) -> SplitResult:
    """Return the parts of a URL that a host can be connected to by. Errors: `FetchError` for another."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise unsupported(url)
    return parts


def redirecting(method: str) -> frozenset[int]:
    """Return the statuses that redirect: what is not asked for but sent goes on unchanged, or not at all."""
    return _REDIRECTING if method in ("GET", "HEAD") else _KEEPING_THE_METHOD


def redirected(place: str, location: str) -> str:
    """Return where a redirect leads. Errors: `ValueError` for what is no address, or is not encrypted any more."""
    try:
        target = urljoin(place, location)
        shown = strip_credentials(target)
    except ValueError:
        raise ValueError("it redirects to something that is not an address") from None
    if urlsplit(place).scheme == "https" and urlsplit(target).scheme != "https":
        raise ValueError(f"it redirects from https: to {shown}, which is not encrypted")
    return target
