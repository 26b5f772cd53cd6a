"""How an output is held against that of another run: `numeric: rtol=1e-6`, as people write it beside the output."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from repro_env.config.problems import did_you_mean
from repro_env.frozen import dataclass

EXACT = "exact"

_KNOWN: Mapping[str, tuple[str, ...]] = {
    EXACT: (),
    "numeric": ("rtol", "atol"),
    "parquet": ("rtol", "atol", "order"),
    "json": ("rtol", "atol", "ignore"),
    "image": ("ssim",),
    "command": (),
}
_PLACES = ("{a}", "{b}")
_OPTION = re.compile(r"([a-z]+)\s*(>=|=)\s*(\S.*)\Z", re.DOTALL)
_KEY_PATH = re.compile(r"[^\s,.]+(\.[^\s,.]+)*\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One way to compare.

    `rtol` and `atol` are the tolerances, relative and absolute: values a (then) and b (now) are equal where
    |a - b| <= atol + rtol * |a|. `any_order` takes no notice of the order of rows; `ignore` are key paths of a JSON
    document that do not count, with `*` for any key; `ssim` is the least structural similarity of two images; `command`
    are the words of a program, with `{a}` and `{b}` for the two.
    """

    method: str = EXACT
    rtol: float = 0.0
    atol: float = 0.0
    any_order: bool = False
    ignore: tuple[str, ...] = ()
    ssim: float = 1.0
    command: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the one text of it, which `parse` reads back: options in a fixed order, defaults left out."""
        if self.method == "command":
            import shlex  # noqa: PLC0415 - only a command needs it; start-up stays lean

            return f"command: {shlex.join(self.command)}"
        options = [f"{name}={value!r}" for name, value in (("rtol", self.rtol), ("atol", self.atol)) if value]
        options += ["order=any"] if self.any_order else []
        options += [f"ignore={path}" for path in self.ignore]
        options += [f"ssim>={self.ssim!r}"] if self.method == "image" else []
        return f"{self.method}: {', '.join(options)}" if options else self.method

    @classmethod
    def parse(cls, text: str) -> Comparison:
        """Read `METHOD` or `METHOD: OPTION, OPTION`. Errors: `ValueError` that says what was expected."""
        name, colon, rest = (part.strip() for part in text.partition(":"))
        if name not in _KNOWN:
            hint = did_you_mean(name, _KNOWN)
            raise ValueError(f'there is no comparison "{name}"' + (f" ({hint})" if hint else ""))
        if colon and not rest:
            raise ValueError(f'nothing follows the colon of "{text}"')
        if name == "command":
            return cls(method=name, command=_command(rest))
        found = cls(method=name, **_options(name, rest)) if rest else cls(method=name)
        if name == "image" and not rest:
            raise ValueError('say how similar images must be: "image: ssim>=0.99"')
        return found


def canonical_comparison(text: str) -> str:
    """Return a comparison in its one spelling. Errors: `ValueError`."""
    return str(Comparison.parse(text))


def _command(text: str) -> tuple[str, ...]:
    import shlex  # noqa: PLC0415 - only a command needs it; start-up stays lean

    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise ValueError(f"the command cannot be split into words: {error}") from error
    joined = " ".join(words)
    missing = [place for place in _PLACES if place not in joined]
    if missing:
        raise ValueError(f"the command does not hold {' and '.join(missing)}, where the two outputs are put")
    if "\0" in text:
        raise ValueError("a NUL character cannot be passed to a program")
    return words


def _options(method: str, text: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    ignored: list[str] = []
    for part in (part.strip() for part in text.split(",")):
        match = _OPTION.match(part)
        name, relation, value = match.groups() if match else (part, "", "")
        if name not in _KNOWN[method]:
            hint = did_you_mean(name, _KNOWN[method])
            raise ValueError(f'"{method}" has no option "{name}"' + (f" ({hint})" if hint else ""))
        if relation != (">=" if name == "ssim" else "="):
            raise ValueError(f'"{part}" is not an option such as "{_EXAMPLES[name]}"')
        if name == "ignore":
            ignored.append(_key_path(value))
        elif (key := "any_order" if name == "order" else name) in values:
            raise ValueError(f'"{name}" is given twice')
        else:
            values[key] = _order(value) if name == "order" else _number(name, value)
    return {**values, **({"ignore": tuple(ignored)} if ignored else {})}


_EXAMPLES = {
    "rtol": "rtol=1e-6",
    "atol": "atol=1e-9",
    "order": "order=any",
    "ignore": "ignore=timing.seconds",
    "ssim": "ssim>=0.99",
}


def _number(name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (0 <= number < math.inf) or (name == "ssim" and number > 1):
        expected = "a number from 0 to 1" if name == "ssim" else "a number from 0 up"
        raise ValueError(f'{name}: expected {expected}, found "{text}"')
    return number


def _order(text: str) -> bool:
    if text != "any":
        raise ValueError(f'order: expected "any", found "{text}"')
    return True


def _key_path(text: str) -> str:
    if not _KEY_PATH.match(text):
        raise ValueError(f'ignore: expected a key path such as "timing.seconds", found "{text}"')
    return text
