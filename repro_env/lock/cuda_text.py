"""`[step.X.PLATFORM.cuda]` of a lock: written and read."""

from __future__ import annotations

from collections.abc import Iterator

from repro_env.config.versions import version
from repro_env.lock import toml_text as toml
from repro_env.lock.cuda import CudaFacts, CudaLibrary
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


def read_cuda(environment: Fields) -> CudaFacts | None:
    """Take an environment's `cuda` table. Errors: `InvalidLockError`."""
    if not environment.has("cuda"):
        return None
    fields = environment.table("cuda")
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


def _libraries(fields: Fields) -> Iterator[CudaLibrary]:
    for index, values in enumerate(fields.items("libraries") if fields.has("libraries") else ()):
        inner = Fields(values, (*fields.path, "libraries", index))
        yield CudaLibrary(name=inner.text("name"), version=inner.text("version"), origin=inner.text("origin"))
        inner.done()


def _version(text: str) -> str:
    version(text)
    return text
