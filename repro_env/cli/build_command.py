"""`repro build`: the images of a lock's steps."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Sequence
from typing import Any

import click

from repro_env.build.code import Code
from repro_env.build.gpu_code import gpu_code_document
from repro_env.build.native import Built
from repro_env.cli.building import built_steps
from repro_env.cli.destinations import Destinations
from repro_env.cli.examples import WithExamples
from repro_env.cli.exporting import ENGINES
from repro_env.cli.missing_report import look_into, warn_missing
from repro_env.cli.progress import reporter
from repro_env.cli.project import fresh_lock, open_workspace, store_root
from repro_env.image.store import Store
from repro_env.values import format_size

_EXAMPLES = (
    ("repro build train", "one step, into the store"),
    ("repro build train --load docker", "for `docker run churn/train`, in project churn"),
    ("repro build --push ghcr.io/team/churn:v1", "all steps, as v1-clean, v1-train"),
    ("repro build --check", "twice, and every byte compared"),
)


@click.command("build", cls=WithExamples, examples=_EXAMPLES)
@click.argument("steps", nargs=-1, metavar="[STEP]...")
@click.option("--update", is_flag=True, help="Record the digests of this build, whatever the lock recorded before.")
@click.option("--workers", type=click.IntRange(1), metavar="N", help="Layers made at once; by default one a core.")
@click.option("--push", metavar="REF", default="", help="Push to this repository, each step under its own name as tag.")
@click.option("--load", metavar="ENGINE", type=click.Choice(ENGINES), help="Load into docker, podman or containerd.")
@click.option(
    "--output", metavar="KIND:PATH", multiple=True, help="Write oci:DIR, or oci-archive, docker-archive or sif."
)
@click.option("--check", is_flag=True, help="Build twice, under conditions that must not matter; change nothing.")
@click.option("--strict", is_flag=True, help="Fail if something in an image would be missing when it runs.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(
    *,
    steps: tuple[str, ...],
    update: bool,
    workers: int | None,
    push: str,
    load: str | None,
    output: tuple[str, ...],
    check: bool,
    strict: bool,
    as_json: bool,
) -> None:
    """Build the images of these steps, or of all.

    What the store lacks is downloaded and checked against the lock; then everything is assembled offline. The same lock
    and code give the same digests on every machine. The images stand in the store, which is an OCI image layout.

    REF is a repository, ghcr.io/team/churn, in which step clean is then called ghcr.io/team/churn:clean. With a tag,
    ghcr.io/team/churn:v1, one step is called just that, and several are called :v1-clean, :v1-train. A project of
    several platforms pushes an index. What the registry has is neither read nor sent, an image base's layers included.
    """
    workspace = open_workspace()
    workspace.check_steps(steps)
    lock = fresh_lock(workspace)
    names = steps or tuple(workspace.project.steps)
    if check:
        if update or push or load or output:
            raise click.UsageError("--check changes nothing: leave out --update, --push, --load and --output")
        from repro_env.cli.build_check import check_build  # noqa: PLC0415 - what a build does without

        check_build(workspace, lock, names, as_json=as_json)
        return
    began = time.monotonic()
    with reporter(quiet=as_json) as report:
        store = Store(store_root())
        where = Destinations.parse(names, push=push, engine=load or "", outputs=output)
        platforms = workspace.project.platforms
        built = built_steps(
            workspace, lock, names, platforms, store, report, update=update, workers=workers, whole=where.need_bytes
        )
        looked = look_into(workspace, lock, built, store, report)
        warn_missing(looked, report, strict=strict)
        delivered = where.deliver(built, lock, store, report)
    seconds = time.monotonic() - began
    if as_json:
        missing = {"missing": [one.document() for one in looked]}
        click.echo(json.dumps({**_document(built, store), **missing, **delivered.document()}, indent=2))
    else:
        columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
        click.echo("\n".join([_table(built, store, seconds, columns), *delivered.lines()]))


def _table(built: Sequence[Built], store: Store, seconds: float, columns: int) -> str:
    """Return a line for each image. On a terminal with less room digests are cut short; `--json` has them whole."""
    several = len({one.platform for one in built}) > 1
    names = {one: f"{one.step} {one.platform}" if several else one.step for one in built}
    width = max(map(len, names.values()))
    made = {
        one: f"{format_size(one.size)} in {one.layers} layers, code {_code(one.code)}"
        + ("" if one.reused else ", environment built")
        for one in built
    }
    lines = [f"{names[one]:<{width}}  {one.image}  {made[one]}" for one in built]
    if max(map(len, lines)) > columns:
        lines = [f"{names[one]:<{width}}  sha256:{one.image.short}...  {made[one]}" for one in built]
    count = "1 image" if len(built) == 1 else f"{len(built)} images"
    return "\n".join([*lines, f"{count} in {store.root} after {seconds:.1f} s"])


def _code(code: Code) -> str:
    count = "1 file" if len(code.files) == 1 else f"{len(code.files)} files"
    return f"{format_size(code.size)} in {count}"


def _document(built: Sequence[Built], store: Store) -> dict[str, Any]:
    images = [
        {
            "step": one.step,
            "platform": str(one.platform),
            "image": str(one.image),
            "environment": str(one.environment),
            "reference": one.reference,
            "size": one.size,
            "layers": one.layers,
            "reused": one.reused,
            "code": {"files": len(one.code.files), "size": one.code.size},
            "gpu_code": gpu_code_document(one.gpu_code),
        }
        for one in built
    ]
    return {"store": str(store.root), "images": images}
