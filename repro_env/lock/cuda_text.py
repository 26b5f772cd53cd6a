"""`[step.X.PLATFORM.cuda]` of a lock: written and read."""

from __future__ import annotations

from collections.abc import Iterator

from repro_env.config.versions import version
from repro_env.lock import toml_text as toml
from repro_env.lock.cuda import CudaCompat, CudaFacts, CudaLibrary
from repro_env.lock.fields import Fields


def cuda_lines(cuda: CudaFacts) -> Iterator[str]:
    """Yield the lines of the table."""
    yield f"runtime = {toml.string(cuda.runtime)}"
    yield f"origin = {toml.string(cuda.origin)}"
    if cuda.others:
        yield f"others = {toml.array(cuda.others)}"
    if cuda.driver:
        yield f"driver = {toml.string(cuda.driver)}"
    if cuda.whole_driver:
        yield f"whole-driver = {toml.string(cuda.whole_driver)}"
    if cuda.libraries:
        rows = ({"name": one.name, "version": one.version, "origin": one.origin} for one in sorted(cuda.libraries))
        yield from toml.lines("libraries", map(toml.inline, rows))


def read_cuda(fields: Fields) -> CudaFacts:
    """Take an environment's `cuda` table. Errors: `InvalidLockError`."""
    facts = CudaFacts(
        runtime=fields.parsed("runtime", _version),
        origin=fields.text("origin"),
        others=fields.texts("others") if fields.has("others") else (),
        driver=fields.parsed("driver", _version) if fields.has("driver") else "",
        whole_driver=fields.parsed("whole-driver", _version) if fields.has("whole-driver") else "",
        libraries=tuple(sorted(_libraries(fields))),
    )
    fields.done()
    return facts


def compat_lines(compat: CudaCompat) -> Iterator[str]:
    """Yield the line of a base that says its forward-compatibility package."""
    branches = " ".join(map(str, compat.branches))
    values = {"cuda": compat.cuda, "driver": compat.driver, "branches": branches, "path": compat.path}
    yield f"compat = {toml.inline({key: text for key, text in values.items() if text})}"


def read_compat(fields: Fields) -> CudaCompat:
    """Take the forward-compatibility package of a base. Errors: `InvalidLockError`."""
    compat = CudaCompat(
        cuda=fields.parsed("cuda", _version),
        driver=fields.parsed("driver", _version),
        branches=fields.parsed("branches", _branches) if fields.has("branches") else (),
        path=fields.text("path") if fields.has("path") else "",
    )
    fields.done()
    return compat


def _branches(text: str) -> tuple[int, ...]:
    numbers = text.split(" ")
    if not all(number.isdecimal() and number.isascii() for number in numbers):
        raise ValueError(f"expected major versions of drivers such as 535 550, found {text!r}")
    return tuple(map(int, numbers))


def _libraries(fields: Fields) -> Iterator[CudaLibrary]:
    for index, values in enumerate(fields.items("libraries") if fields.has("libraries") else ()):
        inner = Fields(values, (*fields.path, "libraries", index))
        yield CudaLibrary(name=inner.text("name"), version=inner.text("version"), origin=inner.text("origin"))
        inner.done()


def _version(text: str) -> str:
    version(text)
    return text
