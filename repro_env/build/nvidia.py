"""What a step image says to NVIDIA's container toolkit, in its variables.

Source: NVIDIA Container Toolkit, "Specialized Configurations with Docker", "Environment variables".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from repro_env.config.versions import Clause, VersionRange
from repro_env.verify.needs import Needs
from repro_env.verify.require import requirements

DEVICES = "NVIDIA_VISIBLE_DEVICES"
_CAPABILITIES, _REQUIRE = "NVIDIA_DRIVER_CAPABILITIES", "NVIDIA_REQUIRE_CUDA"
_USED = ("compute", "utility")  # of the driver: CUDA, and NVML with nvidia-smi


def nvidia_variables(needs: Needs, base: Mapping[str, str]) -> dict[str, str]:
    """Return what a step image says to NVIDIA's container toolkit, given the variables of what it stands on.

    A step without GPUs gets none, although its base may ask for all.
    """
    if needs.gpu is None:
        return {DEVICES: "void"} if DEVICES in base else {}
    asked = [word.strip() for word in base.get(_CAPABILITIES, "").split(",") if word.strip()]
    capabilities = ",".join(asked if "all" in asked else dict.fromkeys((*_USED, *asked)))
    variables = {DEVICES: "all", _CAPABILITIES: capabilities}
    require = _require(needs, base)
    return {**variables, _REQUIRE: require} if require else variables


def _require(needs: Needs, base: Mapping[str, str]) -> str:
    """Return what the step needs as far as the toolkit's words go: driver, CUDA, and compute capability.

    What the base says holds as well: each of its alternatives gets the step's conditions. With them it knows of the
    drivers that its compatibility packages bridge, so the driver's floor is said only where it says nothing.
    """
    assert needs.gpu is not None, "asked of a step with GPUs"
    own = [*_conditions("arch", needs.gpu.compute_capability), *_conditions("driver", needs.gpu.driver)]
    given = base.get(_REQUIRE, "").split()
    if given:
        return " ".join(",".join((alternative, *own)) for alternative in given)
    implied = requirements(base).get("CUDA_VERSION")  # what the toolkit reads into it, unless there is _REQUIRE
    if implied:
        own.append(implied)
    elif needs.cuda is not None and needs.cuda.driver:
        own.append(f"driver>={needs.cuda.driver}")
    return ",".join(own)


def _conditions(key: str, wanted: VersionRange) -> Iterator[str]:
    for clause in wanted.clauses:
        yield from (f"{key}{condition}" for condition in _plain(clause))


def _plain(clause: Clause) -> tuple[str, ...]:
    """Return a clause in the toolkit's operators; nothing for `!=8.*`, which is two conditions of which one holds."""
    if clause.prefix:
        *front, last = clause.text.split(".")
        return (f">={clause.text}", f"<{'.'.join((*front, str(int(last) + 1)))}") if clause.operator == "==" else ()
    return (f"{'=' if clause.operator == '==' else clause.operator}{clause.text}",)
