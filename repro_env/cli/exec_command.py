"""`repro exec`: one step, verified, run and recorded."""

from __future__ import annotations

import click

from repro_env.cli.examples import WithExamples
from repro_env.cli.progress import reporter
from repro_env.cli.project import near, open_workspace, store_root
from repro_env.cli.running import Finished, Run
from repro_env.edges.report import Reporter
from repro_env.image.store import Store
from repro_env.record.runs import document
from repro_env.record.words import duration, ended
from repro_env.verify.demand import check_allowed

_EXAMPLES = (
    ("repro exec train", "with the command of repro.toml"),
    ("repro exec train -- --epochs 3", "with these words after it"),
    ("repro exec --runtime docker train", "in an engine's container"),
)


@click.command("exec", cls=WithExamples, examples=_EXAMPLES)
@click.argument("step")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[-- ARGS]...")
@click.option(
    "--runtime", default="", metavar="NAME", help="bwrap, podman, docker, apptainer or venv; by default the best here."
)
@click.option("--allow", multiple=True, metavar="NAME", help="Let this check of the machine fail, and record that.")
@click.option("--full", is_flag=True, help="Read every input whole, even where nothing seems to have changed.")
@click.option("--json", "as_json", is_flag=True, help="Print the run's record to standard error at the end.")
@click.pass_context
def command(
    context: click.Context,
    *,
    step: str,
    arguments: tuple[str, ...],
    runtime: str,
    allow: tuple[str, ...],
    full: bool,
    as_json: bool,
) -> None:
    """Run one step in its image and leave a record of it. ARGS are put after its command.

    The lock must be fresh, the data as it pins it, and the outputs of earlier steps as their runs left them; what is
    not built is built, and data from elsewhere that is not here is pulled. The machine must be what the step needs, as
    `repro verify` tells. The step sees its inputs read-only, its place for outputs, the environment it declares, and no
    network unless it says `network = true`. Its exit status is passed on; statuses 120 to 125 are repro's own.
    """
    allowed = check_allowed(allow)
    workspace = open_workspace()
    workspace.check_steps((step,))
    with reporter(quiet=as_json) as report:
        run = Run(workspace, step, Store(store_root()), report, runtime=runtime, allowed=allowed, full=full)
        prepared = run.prepare()
    finished = run.start(prepared, arguments)
    if as_json:
        click.echo(document(finished.record).decode(), err=True, nl=False)
    else:
        with reporter() as report:
            tell(finished, report)
    context.exit(finished.outcome.status)


def tell(finished: Finished, report: Reporter) -> None:
    """Say in a line or two how a run ended."""
    record, outcome = finished.record, finished.outcome
    if outcome.status == 0:
        made = ", ".join(output.path for output in record.outputs)
        report.note(f"run {record.id} succeeded in {duration(outcome.wall_seconds)}" + (f": {made}" if made else ""))
        return
    if not finished.started:
        report.note(f"run {record.id} ended before the step's command was started")
        return
    kept = f"; what it wrote is in {near(outcome.kept)}" if outcome.kept else ""
    report.note(f"run {record.id} {ended(record)} after {duration(outcome.wall_seconds)}{kept}")
