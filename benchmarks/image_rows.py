"""What happens to images after the first build: pushed, shared, loaded, made with one worker and with all."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from loopback_registry import registry
from measure import Row, once, peak_memory, timed
from measured import Project

HERE = Path(__file__).resolve().parent
Command = tuple[str | Path, ...]


def image_rows(runs: int, project: Project, scratch: Path, repro: Command) -> Iterator[Row]:
    """Yield every row of this page's second half."""
    yield from _throughput(project, repro)
    yield from _sharing(project, repro)
    with registry(scratch) as host:
        if host is not None:
            yield from _pushing(runs, project, repro, f"{host}/bench")
    if shutil.which("docker"):
        yield from _loading(project, repro)


def _throughput(project: Project, repro: Command) -> Iterator[Row]:
    inflated = int(once((sys.executable, HERE / "floor.py", *project.wheels))) >> 20
    floor = timed((sys.executable, HERE / "floor.py", *project.wheels), runs=3)
    for workers, name in (((("--workers", "1")), "one worker"), ((), "all workers")):
        build = (*repro, "build", "big", *workers)
        ours = timed(build, runs=3, cwd=project.root, env=project.env, before=_forgetting(project))
        speed = f"{inflated / ours.median:.0f} MiB/s of {inflated} MiB unpacked"
        against = f"the floor on all cores, {inflated / floor.median:.0f} MiB/s"
        yield Row(f"making every layer, {name}: {speed}", ours, against, floor)
    _forgetting(project)()
    peak = peak_memory((*repro, "build", "big"), cwd=project.root, env=project.env) >> 20
    again = timed((*repro, "build", "big"), runs=1, cwd=project.root, env=project.env)
    yield Row(f"peak memory of that build: {peak} MiB (and a rebuild)", again, wanted="under 300 MiB")


def _forgetting(project: Project) -> Callable[[], None]:
    store = Path(project.env["REPRO_STORE"])

    def forget() -> None:
        shutil.rmtree(store / "derived" / "wheel-layers", ignore_errors=True)
        project.forget_images()

    return forget


def _sharing(project: Project, repro: Command) -> Iterator[Row]:
    """A second step with the same large wheels and one small package more: only its own small layers are made."""
    project.add_second_step()
    once((*repro, "lock"), cwd=project.root, env=project.env)
    second = timed((*repro, "build", "second"), runs=1, cwd=project.root, env=project.env)
    yield Row("second step, which shares the large wheels", second)


def _pushing(runs: int, project: Project, repro: Command, repository: str) -> Iterator[Row]:
    push = (*repro, "build", "big", "--push", f"{repository}/big")
    yield Row("first push of it all to a registry on loopback", timed(push, runs=1, cwd=project.root, env=project.env))
    edited = timed(push, runs=runs, cwd=project.root, env=project.env, before=project.edit)
    yield Row("one code file changed, rebuilt and pushed", edited, wanted="< 0.5 s")

    def add_small() -> None:
        project.swap_small_package()
        once((*repro, "lock"), cwd=project.root, env=project.env)

    added = timed(push, runs=3, cwd=project.root, env=project.env, before=add_small)
    yield Row("one small package added, rebuilt and pushed", added, wanted="< 1.5 s")


def _loading(project: Project, repro: Command) -> Iterator[Row]:
    load = (*repro, "build", "big", "--load", "docker")
    full = timed(load, runs=1, cwd=project.root, env=project.env)
    after = timed(load, runs=3, cwd=project.root, env=project.env, before=project.edit)
    yield Row("one code file changed, rebuilt and loaded into docker", after, "the first load, of every layer", full)
