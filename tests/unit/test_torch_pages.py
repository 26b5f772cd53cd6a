"""What is taken of a mirror's pages of PyTorch's packages."""

from __future__ import annotations

from typing import Any, cast

import pytest

from repro_env.edges.http import NotFoundError
from repro_env.errors import FetchError
from repro_env.resolve.python.torch import torch_pages

PAGE = """
<html><head><title>x</title><base href="../files/"></head><body>
<a href="torch-2.8.0%2Bcu128-cp311.whl#sha256=00" data-requires-python="&gt;=3.9" class="x">any text</a>
<a href="http://[::1/broken.whl">y</a><a>z</a><script>alert(1)</script>
<a href="https://cdn.example/torch-2.7.0.whl" data-yanked>w</a>
"""


class Mirror:
    """Has pages in memory."""

    def __init__(self, **pages: str) -> None:
        self.pages = pages

    def get(self, url: str, *, limit: int, accept: str) -> bytes:
        assert (limit, accept) == (64 << 20, "text/html")
        page = self.pages.get(url.rstrip("/").rpartition("/")[2])
        if page is None:
            raise NotFoundError(f"no {url}")
        return page.encode()


def test_links_are_absolute_and_all_that_is_left() -> None:
    found = torch_pages("https://m.example/whl/cu128", cast("Any", Mirror(torch=PAGE, numpy=PAGE)))
    assert found == {
        "torch": "<!DOCTYPE html><html><body>\n"
        '<a href="https://m.example/whl/cu128/files/torch-2.8.0%2Bcu128-cp311.whl#sha256=00"'
        ' data-requires-python="&gt;=3.9">torch-2.8.0+cu128-cp311.whl</a>\n'
        '<a href="https://cdn.example/torch-2.7.0.whl" data-yanked="">torch-2.7.0.whl</a>\n'
        "</body></html>\n"
    }


def test_a_mirror_without_pytorch_is_said() -> None:
    with pytest.raises(FetchError, match=r"there is no PyTorch at https://m\.example/whl/cu128"):
        torch_pages("https://user:secret@m.example/whl/cu128", cast("Any", Mirror(triton=PAGE)))
