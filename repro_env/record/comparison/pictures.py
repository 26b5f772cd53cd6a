"""Images, by their structural similarity as people see them.

Z. Wang, A. C. Bovik, H. R. Sheikh, E. P. Simoncelli: Image quality assessment: from error visibility to structural
similarity, IEEE Transactions on Image Processing 13 (2004), with the uniform window of 7 by 7 pixels and the unbiased
variances that are common since.
"""

from __future__ import annotations

import contextlib
import itertools
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from repro_env.config.comparison import Comparison
from repro_env.record.comparison.base import Verdict, optional, reading

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

_WINDOW = 7  # pixels
_K1, _K2 = 0.01, 0.03  # the paper's constants, which keep the quotient stable where an image is black or even
_DEEP = {"I", "I;16", "I;16B", "I;16L", "F"}  # Pillow's modes of more than 8 bits
_EIGHT_BITS = 255.0


class Pictures:
    """Compares images frame by frame: size, then the mean structural similarity over all channels."""

    suffixes: ClassVar[tuple[str, ...]] = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif")
    """The ends of the names of the files that it reads."""

    def __init__(self, comparison: Comparison) -> None:
        self._least = comparison.ssim
        optional("numpy", "comparing images")
        optional("PIL.Image", "comparing images")

    def compare(self, then: Path, now: Path) -> Verdict:
        """Compare two files. Errors: `UnreadableError`, `StoreError`."""
        least, extent = 1.0, ""
        pairs = itertools.zip_longest(_frames(then), _frames(now))
        for number, (before, after) in enumerate(pairs, start=1):
            place = "the image" if number == 1 else f"frame {number}"
            if before is None or after is None:
                return Verdict(equal=False, where=place, difference="is missing" if after is None else "is new")
            if before[0].shape != after[0].shape:
                difference = f"{_size(before[0])} then, {_size(after[0])} now"
                return Verdict(equal=False, where=place, difference=difference)
            similarity, worst = structural_similarity(before[0], after[0], max(before[1], after[1]))
            if similarity < self._least:
                difference = f"similar to {similarity:.6f}, where {self._least:g} is needed"
                extent = f"least around pixel {worst[1]}, {worst[0]}"
                return Verdict(equal=False, where=place, difference=difference, extent=extent)
            least = min(least, similarity)
        return Verdict(equal=True, extent=f"equal within the tolerance: similar to {least:.6f}" if least < 1 else "")


def structural_similarity(then: Array, now: Array, span: float) -> tuple[float, tuple[int, int]]:
    """Return the mean similarity of two images (height, width, channels), and the row and column where it is least.

    `span` is the difference of the largest and the smallest value that a pixel can have. An image smaller than the
    window is one window.
    """
    np = optional("numpy", "comparing images")
    height, width = min(_WINDOW, then.shape[0]), min(_WINDOW, then.shape[1])
    count = height * width
    if not then.size or np.array_equal(then, now):
        return 1.0, (0, 0)
    unbiased = count / (count - 1) if count > 1 else 1.0

    def mean(values: Array) -> Array:
        sums = np.pad(values.cumsum(0).cumsum(1), ((1, 0), (1, 0), (0, 0)))
        inside = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
        result: Array = inside / count
        return result

    first, second = mean(then), mean(now)
    variances = unbiased * (mean(then * then) - first**2 + mean(now * now) - second**2)
    covariance = unbiased * (mean(then * now) - first * second)
    stable = (_K1 * span) ** 2, (_K2 * span) ** 2
    similarity = (2 * first * second + stable[0]) * (2 * covariance + stable[1])
    similarity /= (first**2 + second**2 + stable[0]) * (variances + stable[1])
    row, column, _channel = np.unravel_index(similarity.argmin(), similarity.shape)
    return float(similarity.mean()), (int(row) + height // 2, int(column) + width // 2)


def _frames(path: Path) -> Iterator[tuple[Array, float]]:
    """Yield each frame of an image as numbers, with the span that they can have."""
    np, pillow = optional("numpy", "comparing images"), optional("PIL.Image", "comparing images")
    with _reading(path, pillow):
        image = pillow.open(path)
    with image:
        for number in itertools.count():
            with _reading(path, pillow):
                try:
                    image.seek(number)
                except EOFError:
                    return
                deep = image.mode in _DEEP
                pixels = np.asarray(image if deep else image.convert("RGBA"), dtype=np.float64)
            span = float(np.ptp(pixels)) or 1.0 if deep else _EIGHT_BITS
            yield (pixels[..., None] if deep else pixels), span


@contextlib.contextmanager
def _reading(path: Path, pillow: Any) -> Iterator[None]:
    with warnings.catch_warnings(action="ignore"), reading(path, pillow.DecompressionBombError):
        yield


def _size(pixels: Array) -> str:
    return f"{pixels.shape[1]} x {pixels.shape[0]} pixels"
