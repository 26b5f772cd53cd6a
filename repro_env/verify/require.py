"""`NVIDIA_REQUIRE_*`: what an image asks of the driver and of every GPU.

A value is alternatives with spaces between them, each of conditions with commas between them. Several variables have to
hold at once; those whose name begins with `NVIDIA_REQUIRE_JETPACK` are for other hardware.
Source: libnvidia-container, src/cli/dsl.c and configure.c; container toolkit, internal/config/image.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Tuple

from repro_env.config.versions import version
from repro_env.frozen import dataclass
from repro_env.lock.cuda_drivers import shipped_with
from repro_env.verify.facts import Facts, Gpu
from repro_env.verify.findings import Finding, met, not_met, unknown

_CONDITION = re.compile(r"(cuda|driver|arch|brand)(>=|<=|!=|=|<|>)([A-Za-z0-9.]+)\Z", re.IGNORECASE)
_JETPACK = "NVIDIA_REQUIRE_JETPACK"
_TRUE = ("1", "t", "T", "TRUE", "true", "True")


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One comparison: `key` is `cuda`, `driver`, `arch` or `brand`."""

    key: str
    operator: str
    value: str

    def holds(self, found: str) -> bool:
        """Whether a value that was found passes. Errors: `ValueError` where it is no version."""
        if self.key == "brand":
            return (found.lower() == self.value.lower()) == (self.operator == "=")
        left, right = version(found), version(self.value)
        return {
            "=": left == right,
            "!=": left != right,
            "<": left < right,
            "<=": left <= right,
            ">": left > right,
            ">=": left >= right,
        }[self.operator]

    def __str__(self) -> str:
        return f"{self.key}{self.operator}{self.value}"


Alternative = Tuple[Condition, ...]


def parse_require(text: str) -> tuple[Alternative, ...]:
    """Return the alternatives of one value. Errors: `ValueError` that shows what is no condition."""
    return tuple(tuple(_condition(part) for part in words.split(",") if part) for words in text.split())


def _condition(text: str) -> Condition:
    match = _CONDITION.match(text)
    if not match:
        raise ValueError(f"{text!r} is not a condition such as cuda>=12.4")
    condition = Condition(key=match[1].lower(), operator=match[2], value=match[3])
    if condition.key == "brand":
        if condition.operator not in {"=", "!="}:
            raise ValueError(f"{text!r}: a brand is equal or it is not")
    else:
        version(condition.value)
    return condition


def requirements(env: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that count, by name.

    `CUDA_VERSION` stands for `cuda>=MAJOR.MINOR` in an image without `NVIDIA_REQUIRE_CUDA`; `NVIDIA_DISABLE_REQUIRE`
    turns everything off.
    """
    if env.get("NVIDIA_DISABLE_REQUIRE") in _TRUE:
        return {}
    found = {
        name: text
        for name, text in sorted(env.items())
        if name.startswith("NVIDIA_REQUIRE_") and not name.startswith(_JETPACK) and text.strip()
    }
    numbers = re.match(r"\d+\.\d+", env.get("CUDA_VERSION", ""))
    if "NVIDIA_REQUIRE_CUDA" not in env and numbers:
        found["CUDA_VERSION"] = f"cuda>={numbers[0]}"
    return found


def check_require(env: Mapping[str, str], facts: Facts) -> Iterator[Finding]:
    """Yield a finding for each variable of an image, against every GPU that can be seen.

    As for the toolkit, what stands after an alternative that holds need not be readable.
    """
    for name, text in requirements(env).items():
        alternatives, wrong = _readable(text)
        finding = _judge(name, alternatives, facts) if alternatives or not wrong else None
        if wrong and (finding is None or not finding.is_met):
            yield unknown("require", f"{name} of the base", f"{name} cannot be read: {wrong}")
        elif finding is not None:
            yield finding


def _readable(text: str) -> tuple[tuple[Alternative, ...], str]:
    """Return the alternatives before the first that cannot be read, and what is wrong with that one."""
    found: list[Alternative] = []
    try:
        for words in text.split():
            found += parse_require(words)
    except ValueError as error:
        return tuple(found), str(error)
    return tuple(found), ""


def _judge(name: str, alternatives: tuple[Alternative, ...], facts: Facts) -> Finding:
    values = [(gpu, _values(gpu, facts)) for gpu in facts.gpus if not gpu.problem]
    for gpu, found in values:
        failed = [[condition for condition in one if not _holds(condition, found)] for one in alternatives]
        if all(failed):
            return _not_met(name, alternatives, failed, gpu, found)
    return met("require", name, "satisfied")


def _values(gpu: Gpu, facts: Facts) -> dict[str, str]:
    return {"cuda": facts.cuda, "driver": facts.driver, "arch": gpu.compute_capability, "brand": gpu.brand}


def _holds(condition: Condition, found: Mapping[str, str]) -> bool:
    return bool(found[condition.key]) and condition.holds(found[condition.key])


def _not_met(
    name: str, alternatives: tuple[Alternative, ...], failed: list[list[Condition]], gpu: Gpu, found: Mapping[str, str]
) -> Finding:
    nearest = min(range(len(alternatives)), key=lambda index: _distance(failed[index], found))
    others = len(alternatives) - 1
    more = f", the nearest of {others + 1} alternatives" if others else ""
    missing = " and ".join(map(str, failed[nearest]))
    shown = ", ".join(f"{key} {found[key] or 'unknown'}" for key in dict.fromkeys(c.key for c in alternatives[nearest]))
    why = f"{gpu.label} does not satisfy {missing}"
    hint = "update the driver, or choose a base made for an older CUDA"
    return not_met("require", f"{name}: {','.join(map(str, alternatives[nearest]))}{more}", shown, why, hint)


def _distance(failed: list[Condition], found: Mapping[str, str]) -> tuple[bool, bool, int, int]:
    """Return how far off an alternative is: a brand cannot be changed, and an older driver is no way forward."""
    brand = any(condition.key == "brand" for condition in failed)
    back = any(condition.operator.startswith("<") for condition in failed)
    return brand, back, len(failed), sum(_branches(condition, found) for condition in failed)


def _branches(condition: Condition, found: Mapping[str, str]) -> int:
    """Return by how many driver branches a machine misses a condition; a CUDA version stands for its own driver."""
    if condition.key == "brand":
        return 0
    if condition.key == "cuda" and shipped_with(condition.value) and found["driver"]:
        return abs(_major(shipped_with(condition.value)) - _major(found["driver"]))
    return abs(_major(condition.value) - _major(found[condition.key]))


def _major(text: str) -> int:
    return (*version(text or "0"), 0)[0]
