"""Where else a locked wheel may be had: the user's configured indexes, asked for the file by its hash.

A lock made behind one mirror must install behind another. The simple repository API is read as JSON (PEP 691) or as
HTML (PEP 503); a flat index is one page, or one directory, of files.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import PurePosixPath
from typing import Any, Protocol
from urllib.parse import quote, unquote, urljoin, urlsplit

from repro_env.edges.credentials import Index
from repro_env.errors import FetchError
from repro_env.frozen import dataclass
from repro_env.lock.model import SourcePackage, Wheel
from repro_env.values import normalise_name

_ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
_LARGEST_PAGE = 64 << 20


class Pages(Protocol):
    """What pages are read with: `edges.http_client.HttpClient`."""

    def get(self, url: str, *, limit: int, accept: str = "*/*") -> bytes:
        """Return a document. Errors: `FetchError`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One file that an index offers. `sha256` is empty where the index does not say."""

    file: str
    url: str
    sha256: str = ""


def offers(page: bytes, url: str) -> list[Offer]:
    """Return the files of a project's page, fetched from `url`. What is no valid entry is left out."""
    if page.lstrip()[:1] == b"{":
        return _json_offers(page, url)
    return list(_html_offers(page, url))


def locate(wheel: Wheel | SourcePackage, indexes: Sequence[Index], pages: Pages) -> Iterator[str]:
    """Yield the URLs at which the user's indexes offer this wheel: those with its hash, then those with its name.

    An index that cannot be read offers nothing. What is yielded may hold credentials, as the index's URL does.
    """
    unsure: list[str] = []
    for index in indexes:
        for offer in _offers_of(index, wheel.name, pages, wheel.file):
            if offer.sha256 == wheel.sha256.hex:
                yield offer.url
            elif not offer.sha256 and offer.file == wheel.file:
                unsure.append(offer.url)
    yield from unsure


def _offers_of(index: Index, name: str, pages: Pages, file: str) -> list[Offer]:
    url = _page_url(index, name)
    if index.flat and url.startswith("file:") and not url.endswith((".html", ".htm")):
        place = f"{url.rstrip('/')}/{quote(file)}"
        return [Offer(file=file, url=place)]
    try:
        return offers(pages.get(url, limit=_LARGEST_PAGE, accept=_ACCEPT), url)
    except FetchError:
        return []


def _page_url(index: Index, name: str) -> str:
    if index.flat:
        return index.url
    page = f"{index.url.rstrip('/')}/{normalise_name(name)}/"
    return f"{page}index.html" if page.startswith("file:") else page


def _json_offers(page: bytes, url: str) -> list[Offer]:
    try:
        entries: Any = json.loads(page)["files"]
        return [offer for entry in entries if (offer := _json_offer(entry, url))]
    except (ValueError, TypeError, KeyError, RecursionError):
        return []


def _json_offer(entry: Any, url: str) -> Offer | None:
    try:
        sha256 = str(entry["hashes"].get("sha256", ""))
        return Offer(file=str(entry["filename"]), url=urljoin(url, entry["url"]), sha256=sha256)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _html_offers(page: bytes, url: str) -> Iterator[Offer]:
    parser = _Anchors()
    parser.feed(page.decode("utf-8", "replace"))
    for href in parser.hrefs:
        with contextlib.suppress(ValueError):  # no URL
            yield _offer(urljoin(urljoin(url, parser.base), href))


def _offer(url: str) -> Offer:
    parts = urlsplit(url)
    algorithm, _, value = parts.fragment.partition("=")
    file = PurePosixPath(unquote(parts.path)).name
    return Offer(file=file, url=parts._replace(fragment="").geturl(), sha256=value if algorithm == "sha256" else "")


class _Anchors(HTMLParser):
    """Collects the links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.hrefs: list[str] = []
        self.base = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a link, or what links are relative to."""
        href = dict(attrs).get("href")
        if tag == "a" and href:
            self.hrefs.append(href)
        elif tag == "base" and href:
            self.base = href
