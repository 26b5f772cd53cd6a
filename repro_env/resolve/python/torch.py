"""The index of a PyTorch backend on a mirror, for PyTorch's packages alone.

Such an index also holds old copies of numpy and others, so uv must not be given it as it is: its pages of PyTorch's own
packages are copied into an index of files that has no others.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from html import escape
from html.parser import HTMLParser
from urllib.parse import unquote, urljoin, urlsplit

from repro_env.edges.http import NotFoundError
from repro_env.edges.pool import thread_pool
from repro_env.errors import FetchError
from repro_env.resolve.python.complete import SizedHttp
from repro_env.values import strip_credentials

PACKAGES = (
    *("torch", "torchvision", "torchaudio", "torchao", "torchcodec", "torchdata", "torchtext", "torchtitan"),
    *("torch-tensorrt", "torch-model-archiver", "torch-tb-profiler", "torchrec", "torchserve", "torchtune"),
    *("torcharrow", "torchcsprng", "torchdistx", "fbgemm-gpu", "fbgemm-gpu-genai", "xformers", "vllm"),
    *("pytorch-triton", "pytorch-triton-rocm", "pytorch-triton-xpu", "triton", "triton-rocm", "triton-xpu"),
)
"""What is published on PyTorch's indexes for each backend. Source: https://download.pytorch.org/whl/"""

_LARGEST_PAGE = 64 << 20
_AT_ONCE = 8
_KEPT = ("data-requires-python", "data-yanked", "data-core-metadata", "data-dist-info-metadata", "data-gpg-sig")


def torch_pages(index: str, http: SizedHttp) -> dict[str, str]:
    """Return the index's pages of PyTorch's packages, by name, with absolute links; without those it has none of.

    Errors: `FetchError` where it cannot be read, or does not have PyTorch.
    """

    def page(name: str) -> str:
        url = f"{index}/{name}/" + ("index.html" if index.startswith("file:") else "")
        try:
            return _absolute(http.get(url, limit=_LARGEST_PAGE, accept="text/html").decode("utf-8", "replace"), url)
        except NotFoundError:
            return ""

    with thread_pool(_AT_ONCE, "torch") as pool:
        found = {name: text for name, text in zip(PACKAGES, pool.map(page, PACKAGES), strict=True) if text}
    if "torch" not in found:
        raise FetchError(
            f"there is no PyTorch at {strip_credentials(index)}",
            "REPRO_TORCH_MIRROR stands for https://download.pytorch.org/whl, and has a page of torch for each backend",
            "check REPRO_TORCH_MIRROR, and that the mirror has this backend",
        )
    return found


def _absolute(page: str, url: str) -> str:
    """Return the links of a page of the simple repository API (PEP 503, 658), and nothing else of it."""
    parser = _Anchors(url)
    parser.feed(page)
    return f"<!DOCTYPE html><html><body>\n{''.join(parser.lines)}</body></html>\n"


class _Anchors(HTMLParser):
    """Collects links, as lines of another page."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._base = url

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a link, or what links are relative to; what is no address is passed over."""
        values = dict(attrs)
        href = values.get("href")
        with contextlib.suppress(ValueError):
            if tag == "base" and href:
                self._base = urljoin(self._base, href)
            elif tag == "a" and href:
                self.lines.append(f"<a {' '.join(self._attributes(values, href))}>{escape(_file(href))}</a>\n")

    def _attributes(self, values: dict[str, str | None], href: str) -> Iterator[str]:
        yield f'href="{escape(urljoin(self._base, href))}"'
        for name in _KEPT:
            if name in values:
                yield f'{name}="{escape(values[name] or "")}"'


def _file(href: str) -> str:
    """Return the file name at the end of a link, which is what the link's text has to be."""
    return unquote(urlsplit(href).path).rpartition("/")[2]
