"""What a failed request means in people's words: from urllib3's exceptions and HTTP statuses to `FetchError`."""

from __future__ import annotations

from urllib.parse import urlsplit

from repro_env.edges.http import NotFoundError
from repro_env.errors import FetchError
from repro_env.values import strip_credentials

_ABSENT = frozenset({404, 410})
_DENIED = frozenset({401, 403})
_PROXY_DENIED = 407
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_UNREACHABLE_ATTEMPTS = 2
"""Tries when a host cannot be found or refuses: enough for a hiccup, and a machine without network is told at once."""

_OFFLINE_HINT = "check the network, the proxy variables (HTTPS_PROXY, NO_PROXY) and that the address is right"
_STALLED_HINT = "run the same command again: what was downloaded is kept and goes on from there"
_CERTIFICATE_HINT = "if your network has its own certificate authority, let SSL_CERT_FILE name its certificate bundle"


class TransientError(FetchError):
    """A failure that may pass: tried again up to `attempts` times in all (None: as often as the client is set to).

    `after` is the pause in seconds that the server asked for.
    """

    def __init__(
        self, what: str, why: str, hint: str = "", *, attempts: int | None = None, after: float | None = None
    ) -> None:
        super().__init__(what, why, hint)
        self.attempts = attempts
        self.after = after

    def final(self) -> FetchError:
        """Return the same failure as one that is not tried again."""
        return FetchError(self.what, self.why, self.hint)


def unsupported(url: str) -> FetchError:
    """Return the error for a URL that is neither `http:`, `https:` nor `file:`."""
    try:
        shown = strip_credentials(url)
    except ValueError:
        shown = "an address that is not a URL"
    return FetchError(f"cannot download {shown}", "only https:, http: and file: URLs can be fetched")


def verb(method: str) -> str:
    """Return what a request was to do, for `cannot VERB URL`."""
    return "download" if method in ("GET", "HEAD") else "send to"


def may_pass(status: int) -> bool:
    """Whether asking again later may give another answer than this status."""
    return status in _TRANSIENT


def status_failure(
    status: int, reason: str, url: str, after: float | None, *, method: str = "GET", denied_hint: str = ""
) -> FetchError:
    """Return the error for an answer that is not the content; `after` is the server's `Retry-After` in seconds.

    `denied_hint` is what to do where the server wants to know who asks.
    """
    what = f"cannot {verb(method)} {strip_credentials(url)}"
    host = urlsplit(url).hostname or ""
    why = f"{host} answered {status} {reason}".rstrip()
    if status in _ABSENT:
        return NotFoundError(what, why)
    if status in _DENIED:
        return FetchError(what, why, denied_hint)
    if status == _PROXY_DENIED:
        return FetchError(what, why, "put the proxy's user name and password in HTTPS_PROXY")
    if status in _TRANSIENT:
        asked = f" and asks to wait {after:.0f} s" if after else ""
        return TransientError(what, why + asked, "try again later: what was downloaded is kept", after=after)
    return FetchError(what, why)


def connection_failure(error: Exception, url: str, silence: float, *, method: str = "GET") -> FetchError:
    """Return the error for a connection that failed or broke off; `silence` is the read limit in seconds."""
    from urllib3 import exceptions  # noqa: PLC0415 - loaded by whoever got such an error

    what = f"cannot {verb(method)} {strip_credentials(url)}"
    host = urlsplit(url).hostname or ""
    if isinstance(error, exceptions.SSLError):
        return _tls_failure(error, what, host)
    if why := _unreachable(error, host):
        return TransientError(what, why, _OFFLINE_HINT, attempts=_UNREACHABLE_ATTEMPTS)
    if isinstance(error, (exceptions.ReadTimeoutError, TimeoutError)):
        return TransientError(what, f"{host} sent nothing for {silence:g} s", _STALLED_HINT)
    if isinstance(error, (exceptions.ProtocolError, OSError)):
        return TransientError(what, f"{host} broke off the connection", _STALLED_HINT)
    return FetchError(what, f"the address or the answer of {host} is not valid HTTP")


def _unreachable(error: Exception, host: str) -> str:
    """Return why no connection was made, or an empty text if one was."""
    from urllib3 import exceptions  # noqa: PLC0415 - as above

    match error:
        case exceptions.NameResolutionError():
            return f"there is no address for {host}"
        case exceptions.ProxyError():
            return f"the proxy for {host} cannot be used: {_reason(error.original_error)}"
        case exceptions.NewConnectionError():  # before its parent, ConnectTimeoutError
            return f"cannot connect to {host}: {_reason(error)}"
        case exceptions.ConnectTimeoutError():
            return f"{host} did not accept a connection in time"
        case _:
            return ""


def _tls_failure(error: Exception, what: str, host: str) -> FetchError:
    text = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        reason = text.partition("certificate verify failed: ")[2].partition(" (_ssl")[0] or "it is not trusted"
        return FetchError(what, f"the certificate of {host} cannot be verified: {reason}", _CERTIFICATE_HINT)
    return TransientError(what, f"no secure connection to {host} could be made", attempts=_UNREACHABLE_ATTEMPTS)


def _reason(error: BaseException) -> str:
    """Return the system's word for what happened. Never the exception's own text: a proxy's holds its password."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.strerror:
            return seen.strerror
        seen = seen.__cause__ or seen.__context__
    return "the connection failed"
