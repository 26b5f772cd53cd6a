"""Side by side with peers and the floor, in one run: `make bench` writes docs/benchmarks.md.

    python benchmarks/run.py [--wheels DIR] [--runs N] [--output FILE]

Wheels are fetched once, at exact versions, into the cache of the tests; `--wheels` names a directory with more of them
(torch's CPU build, say), which then take part. Peers that are absent are left out, and the table says so.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from image_rows import image_rows
from measure import Row, Timing, once, timed
from measured import BIG, Project, big_project, lock_project, starting_project, wheel_directory
from verify_rows import verify_rows

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
REPRO = BIN / "repro"
UV = BIN / "uv"


def check_rows(runs: int, scratch: Path) -> Iterator[Row]:
    """`repro lock --check` against `uv lock --check` and an interpreter that imports click."""
    project = lock_project(scratch / "check", REPRO, UV)
    ours = timed((REPRO, "lock", "--check"), runs=runs, cwd=project.root, env=project.env)
    uv = timed((UV, "lock", "--check", "--offline"), runs=runs, cwd=project.root / "uv", env=project.env)
    click = timed((sys.executable, "-c", "import click"), runs=runs)
    what = f"`repro lock --check`, {project.packages} packages"
    yield Row(what, ours, "`uv lock --check --offline`, the same packages", uv, "faster")
    yield Row(what, ours, '`python -c "import click"`', click, "under 100 ms")


def build_rows(runs: int, project: Project) -> Iterator[Row]:
    """An image of heavy wheels: from nothing, against docker and the floor, and three kinds of rebuild."""
    store = Path(project.env["REPRO_STORE"])
    build = (REPRO, "build", "big")
    once(build, cwd=project.root, env=project.env)

    def forget() -> None:
        shutil.rmtree(store / "derived" / "wheel-layers", ignore_errors=True)
        project.forget_images()

    ours = timed(build, runs=3, cwd=project.root, env=project.env, before=forget)
    floor = timed((sys.executable, HERE / "floor.py", *project.wheels), runs=3)
    size = f"{len(project.wheels)} wheels, {sum(path.stat().st_size for path in project.wheels) >> 20} MiB"
    docker = docker_build(project)
    yield Row(
        f"image from local wheels ({size})", ours, "the floor: inflating and hashing them", floor, "within 2 times"
    )
    if docker is not None:
        yield Row(f"image from local wheels ({size})", ours, docker[0], docker[1], "at least 8 times faster")
    yield Row("rebuild, nothing changed", timed(build, runs=runs, cwd=project.root, env=project.env), wanted="< 150 ms")
    yield Row(
        "rebuild, one code file changed",
        timed(build, runs=runs, cwd=project.root, env=project.env, before=project.edit),
        wanted="< 300 ms",
    )

    def add_small() -> None:
        project.swap_small_package()
        once((REPRO, "lock"), cwd=project.root, env=project.env)

    more = timed(build, runs=3, cwd=project.root, env=project.env, before=add_small)
    yield Row("rebuild, one small package added", more)


def docker_build(project: Project) -> tuple[str, Timing] | None:
    """Return the time of a Dockerfile build with uv from the same wheels, and of exporting that image."""
    if not shutil.which("docker") or not shutil.which("skopeo"):
        return None
    once((REPRO, "build", "bare"), cwd=project.root, env=project.env)
    image = f"oci:{project.env['REPRO_STORE']}:bench/bare"
    once(("skopeo", "copy", "--insecure-policy", image, "docker-daemon:repro-bench-base:latest"))
    with tempfile.TemporaryDirectory() as name:
        context = Path(name)
        shutil.copy(UV, context / "uv")
        (context / "wheels").mkdir()
        for wheel in project.wheels:
            os.link(wheel, context / "wheels" / wheel.name)
        (context / "main.py").write_text("print()\n")
        (context / "Dockerfile").write_text(_dockerfile())
        build = ("docker", "build", "--no-cache", "--quiet", "--tag", "repro-bench-peer", context)
        built = timed(build, runs=1, env={"DOCKER_BUILDKIT": "1" if _has_buildkit() else "0"})
        export = (
            "skopeo",
            "copy",
            "--insecure-policy",
            "docker-daemon:repro-bench-peer:latest",
            f"oci:{name}/export:peer",
        )
        exported = timed(export, runs=1)
    kind = "BuildKit" if _has_buildkit() else "classic builder"
    what = f"`docker build` with uv ({kind}, {built.median:.1f} s) and export ({exported.median:.1f} s)"
    return what, Timing((built.median + exported.median,))


def _dockerfile() -> str:
    install = "/uv pip install --python /opt/env/bin/python --no-index --no-deps --no-cache /wheels/*.whl"
    if _has_buildkit():
        run = f"--mount=type=bind,source=wheels,target=/wheels --mount=type=bind,source=uv,target=/uv {install}"
        return f"FROM repro-bench-base\nRUN {run}\nCOPY main.py /app/\n"
    return f"FROM repro-bench-base\nCOPY uv /uv\nCOPY wheels /wheels\nRUN {install}\nCOPY main.py /app/\n"


def _has_buildkit() -> bool:
    client = subprocess.run(("docker", "buildx", "version"), capture_output=True, check=False)
    old = subprocess.run(("docker", "--version"), capture_output=True, text=True, check=False).stdout
    return client.returncode == 0 or "version 20." in old


def exec_rows(runs: int, project: Project) -> Iterator[Row]:
    """`repro exec` of an empty command against the bare runtime."""
    for runtime, bare in _bare_runtimes(project):
        words = (REPRO, "exec", "--runtime", runtime, "empty")
        once(words, cwd=project.root, env=project.env)
        ours = timed(words, runs=runs, cwd=project.root, env=project.env)
        theirs = timed(bare, runs=runs)
        added = (ours.median - theirs.median) * 1000
        yield Row(
            f"`repro exec` of an empty command, {runtime}",
            ours,
            f"bare {runtime}; repro adds {added:.0f} ms",
            theirs,
            "adds < 150 ms",
        )


def start_rows(runs: int, scratch: Path, big: Project) -> Iterator[Row]:
    """Starting Python and importing a large package, with `bytecode = true` and without."""
    if not shutil.which("bwrap"):
        return
    modules = ["pandas", "sklearn", *(["torch"] if any("torch-" in wheel.name for wheel in big.wheels) else [])]
    project = starting_project(scratch / "starting", big, modules, REPRO)
    for module in modules:
        words = (REPRO, "exec", "--runtime", "bwrap")
        for name in (module, f"{module}-compiled"):
            once((*words, name), cwd=project.root, env=project.env)
        plain = timed((*words, module), runs=runs, cwd=project.root, env=project.env)
        compiled = timed((*words, f"{module}-compiled"), runs=runs, cwd=project.root, env=project.env)
        what = f"`repro exec` of `import {module}`, with byte code"
        yield Row(what, compiled, "the same without", plain, "faster")


def _bare_runtimes(project: Project) -> Iterator[tuple[str, tuple[str | Path, ...]]]:
    once((REPRO, "build", "empty"), cwd=project.root, env=project.env)
    if shutil.which("bwrap"):
        once((REPRO, "exec", "--runtime", "bwrap", "empty"), cwd=project.root, env=project.env)
        root = max((Path(project.env["REPRO_STORE"]) / "rootfs").iterdir(), key=lambda path: path.stat().st_mtime)
        mounts = ("--ro-bind", root, "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp")
        yield "bwrap", ("bwrap", "--unshare-all", "--die-with-parent", *mounts, "/usr/bin/true")
    if shutil.which("docker"):
        image = f"oci:{project.env['REPRO_STORE']}:bench/empty"
        once(("skopeo", "copy", "--insecure-policy", image, "docker-daemon:repro-bench-empty:latest"))
        yield "docker", ("docker", "run", "--rm", "--network", "none", "repro-bench-empty", "/usr/bin/true")


@contextlib.contextmanager
def docker_as_it_was() -> Iterator[None]:
    """Remove the images that the block made: with their layers there, the next run's first load would be none."""
    before = _docker_images()
    try:
        yield
    finally:
        if made := [image for image in _docker_images() if image not in before]:
            subprocess.run(("docker", "image", "rm", "--force", *made), capture_output=True, check=False)


def _docker_images() -> list[str]:
    """Return every image, those made on others before these, which could not be removed before them."""
    if not shutil.which("docker"):
        return []
    listed = ("docker", "image", "ls", "--all", "--quiet", "--no-trunc")
    return subprocess.run(listed, capture_output=True, text=True, check=False).stdout.split()


def report(rows: list[Row]) -> str:
    """Return the page."""
    machine = (
        f"{os.cpu_count()} cores, Python {platform.python_version()}, Linux {platform.release().partition('-')[0]}"
    )
    how = "Medians of whole processes, side by side in one run: read the ratios, not the seconds."
    lines = ["# Benchmarks", "", f"Written by `make bench` on {datetime.now(UTC):%Y-%m-%d}: {machine}. {how}", ""]
    lines += ["| what | repro | against | there | ratio | wanted |", "| --- | ---: | --- | ---: | --- | --- |"]
    for row in rows:
        theirs = f"{row.theirs.median:.3f} s" if row.theirs else ""
        lines.append(
            f"| {row.what} | {row.ours.median:.3f} s | {row.against} | {theirs} | {row.ratio} | {row.wanted} |"
        )
    heavy = ", ".join(f"{name} {version}" for name, version in BIG)
    return "\n".join([*lines, "", f"The image from local wheels: {heavy}, and what they need.", ""])


def main() -> None:
    """Run everything and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheels", type=Path, help="a directory with more wheels to build from")
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--output", type=Path, default=HERE.parent / "docs" / "benchmarks.md")
    chosen = parser.parse_args()
    rows: list[Row] = []
    with docker_as_it_was(), tempfile.TemporaryDirectory(prefix="repro-bench-") as name:
        scratch = Path(name)
        wheels = wheel_directory(UV, chosen.wheels)
        project = big_project(scratch / "big", wheels, REPRO)
        for part in (
            check_rows(chosen.runs, scratch),
            build_rows(chosen.runs, project),
            image_rows(chosen.runs, project, scratch, (REPRO,)),
            exec_rows(chosen.runs, project),
            verify_rows(chosen.runs, scratch, REPRO),
            start_rows(min(chosen.runs, 5), scratch, project),
        ):
            for row in part:
                rows.append(row)
                print(f"{row.what}: {row.ours.median:.3f} s  {row.ratio} {row.against}", flush=True)
    chosen.output.write_text(report(rows))


if __name__ == "__main__":
    main()
