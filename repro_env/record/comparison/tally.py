"""Values counted as they are compared: which differed first, how many, and how far they are apart at most."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from repro_env.config.comparison import Comparison
from repro_env.record.comparison.base import Verdict, optional

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

_SHOWN = 60  # characters of a value
_NUMBERS = (int, float, complex)  # and not bool, which is one of them to Python


class Tally:
    """What differs between two outputs.

    Two numbers are equal where |then - now| <= atol + rtol * |then|. A NaN equals a NaN, an infinity the same one, and
    -0.0 equals 0.0. The first difference that is told is the one to show; the rest is counted.
    """

    def __init__(self, comparison: Comparison) -> None:
        self._rtol, self._atol = comparison.rtol, comparison.atol
        self._first: tuple[str, str] | None = None
        self._values = self._different = 0
        self._absolute = self._relative = 0.0

    @property
    def differs(self) -> bool:
        """Whether any difference was found."""
        return self._first is not None

    def tell(self, where: str, difference: str) -> None:
        """Note a difference that is not one of two values: of shape, type or presence."""
        if self._first is None:
            self._first = (where, difference)

    def same(self, count: int) -> None:
        """Count values that are known to be equal."""
        self._values += count

    def value(self, where: Callable[[], str], then: object, now: object) -> None:
        """Compare two values of any kind, at a place that is called `where()`; only numbers are given a tolerance."""
        self._values += 1
        if type(then) in _NUMBERS and type(now) in _NUMBERS:
            self._number(where, then, now)
        elif type(then) is not type(now) or then != now:
            self._differ(where, f"{shown(then)} then, {shown(now)} now")

    def _number(self, where: Callable[[], str], then: Any, now: Any) -> None:
        if then == now or (_is_nan(then) and _is_nan(now)):
            return
        absolute, relative = _apart(then, now)
        self._note(absolute, relative)
        if not self._within(then, absolute):
            self._differ(where, f"{then!r} then, {now!r} now ({_distance(absolute, relative)})")

    def _differ(self, where: Callable[[], str], difference: str) -> None:
        self._different += 1
        if self._first is None:
            self._first = (where(), difference)

    def _within(self, then: Any, absolute: float) -> bool:
        # Not finite: an infinity or a NaN against a number is as far away as can be, whatever the tolerance.
        return math.isfinite(absolute) and absolute <= self._atol + self._rtol * abs(then)

    def array(self, then: Array, now: Array, where: Callable[[int], str]) -> None:
        """Compare two arrays of one dimension, length and type; `where` names the place of an index."""
        np = optional("numpy", "comparing numbers")
        self._values += len(then)
        if then.dtype.kind not in "iufc":
            self._others(then, now, where)
            return
        different = then != now
        if then.dtype.kind in "fc":
            different &= ~(np.isnan(then) & np.isnan(now))
        places = np.flatnonzero(different)
        if not len(places):
            return
        first, second = then[places], now[places]
        with np.errstate(all="ignore"):
            absolute, size = _distances(np, first, second)
            relative = np.where(size > 0, absolute / size, np.inf)
            outside = ~(np.isfinite(absolute) & (absolute <= self._atol + self._rtol * size))
        self._note(_largest(np, absolute), _largest(np, relative))
        self._different += int(outside.sum())
        if outside.any():
            index = int(outside.argmax())
            distance = _distance(float(absolute[index]), float(relative[index]))
            pair = f"{first[index].item()!r} then, {second[index].item()!r} now"
            self.tell(where(int(places[index])), f"{pair} ({distance})")

    def _others(self, then: Array, now: Array, where: Callable[[int], str]) -> None:
        """Compare what is no number: truth values, text, bytes, times."""
        np = optional("numpy", "comparing numbers")
        different = then != now
        if then.dtype.kind in "mM":
            different &= ~(np.isnat(then) & np.isnat(now))
        places = np.flatnonzero(different)
        self._different += len(places)
        if len(places):
            index = int(places[0])
            self.tell(where(index), f"{shown(then[index])} then, {shown(now[index])} now")

    def _note(self, absolute: float, relative: float) -> None:
        self._absolute = max(self._absolute, math.inf if math.isnan(absolute) else absolute)
        self._relative = max(self._relative, math.inf if math.isnan(relative) else relative)

    def verdict(self) -> Verdict:
        """Return what was found."""
        where, difference = self._first or ("", "")
        apart = _distance(self._absolute, self._relative) if self._absolute else ""
        if self._first is None:
            extent = f"equal within the tolerance: at most {apart}" if apart else ""
        elif self._different:
            extent = f"{self._different:,} of {self._values:,} values differ" + (
                f", by at most {apart}" if apart else ""
            )
        else:
            extent = ""
        return Verdict(
            equal=self._first is None,
            where=where,
            difference=difference,
            extent=extent,
            count=self._different,
            total=self._values,
            absolute=self._absolute,
            relative=self._relative,
        )


def shown(value: object) -> str:
    """Return a value for a message, shortened."""
    text = repr(value.item() if hasattr(value, "item") else value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _is_nan(value: Any) -> bool:
    return bool(value != value)  # noqa: PLR0124 - only a NaN is not itself


def _apart(then: Any, now: Any) -> tuple[float, float]:
    """Return how far two different numbers are apart, absolutely and relatively to the first."""
    try:
        absolute = float(abs(then - now))
        return absolute, absolute / abs(then) if then else math.inf
    except OverflowError:  # integers beyond any float
        return math.inf, math.inf


def _distances(np: Any, then: Array, now: Array) -> tuple[Array, Array]:
    """Return |then - now| and |then|, exact before they become floating point."""
    if then.dtype.kind in "iu":
        high, low = np.maximum(then, now), np.minimum(then, now)
        # Modulo 2**64 the difference of two integers of 64 bits is exact, whatever their signs.
        exact = high.astype(np.uint64) - low.astype(np.uint64)
        return exact.astype(np.float64), np.abs(then.astype(np.float64))
    wide = np.result_type(then.dtype, np.float64)
    return np.abs(then.astype(wide) - now.astype(wide)), np.abs(then.astype(wide))


def _largest(np: Any, values: Array) -> float:
    return math.inf if np.isnan(values).any() else float(values.max())


def _distance(absolute: float, relative: float) -> str:
    parts = [f"{absolute:.3g} absolutely"] if math.isfinite(absolute) else []
    parts += [f"{relative:.3g} relatively"] if math.isfinite(relative) else []
    return ", ".join(parts) or "no distance between them"
