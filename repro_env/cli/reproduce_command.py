"""`repro reproduce`: runs repeated as they were, and their outputs held against what they were."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import click

from repro_env.cli.examples import WithExamples
from repro_env.cli.history import wanted_run
from repro_env.cli.progress import reporter
from repro_env.cli.project import open_workspace, project_root, store_root
from repro_env.cli.reproducing import Reproducer, Reproduction, Wishes
from repro_env.cli.reproduction_text import reproduction_document, reproduction_text, verdict_line
from repro_env.config.comparison import canonical_comparison
from repro_env.errors import ConfigError, UsageError
from repro_env.image.store import Store
from repro_env.record.bundle import is_bundle, open_bundle
from repro_env.record.runs import Run, list_runs, runs_directory
from repro_env.verify.demand import check_allowed

DIFFERENT = 14
"""The exit status of a run that was repeated with another outcome."""

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")  # in what a record of elsewhere says, and a directory is to be called


_EXAMPLES = (
    ("repro reproduce train", "the last run of a step"),
    ("repro reproduce --all", "every step's, for CI"),
    ("repro reproduce --from train.tar", "one from elsewhere, by `repro show --bundle`"),
)


@click.command("reproduce", cls=WithExamples, examples=_EXAMPLES)
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option("--all", "everything", is_flag=True, help="The last successful run of every step, in their order.")
@click.option("--from", "records", multiple=True, metavar="FILE", help="A run by its record, or by a bundle of it.")
@click.option("--repository", default="", metavar="PLACE", help="Where the commit is: a directory, or an address.")
@click.option("--here", is_flag=True, help="Use the code and the lock that are here now, and tell what changed.")
@click.option("--upstream", is_flag=True, help="First repeat the runs that made inputs which are gone.")
@click.option("--compare", multiple=True, metavar="OUTPUT=HOW", help='Compare so, as in model="numeric: rtol=1e-6".')
@click.option("--output", type=click.Path(path_type=Path), metavar="DIR", help="Put what is made there, once compared.")
@click.option("--runtime", default="", metavar="NAME", help="Another runtime than the run had.")
@click.option("--allow", multiple=True, metavar="NAME", help="Let this check of the machine fail, and record that.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(
    context: click.Context,
    *,
    runs: tuple[str, ...],
    everything: bool,
    records: tuple[str, ...],
    repository: str,
    here: bool,
    upstream: bool,
    compare: tuple[str, ...],
    output: Path | None,
    runtime: str,
    allow: tuple[str, ...],
    as_json: bool,
) -> None:
    """Run again what was run, and compare what it makes.

    The code is restored at the run's commit, with what was not committed, beside your checkout, which is not touched.
    The lock is the run's own, the image is built from it or taken from the store, and the inputs must be the very bytes
    of then. What the step makes stays in the new run's directory and is compared with what the run made: byte for byte,
    or as its output declares. RUN is as for `repro show`; without it, the last that repeats no other.

    Exits with 14 if anything came out different, and with 15 if something is gone that the run started from.
    """
    if everything and (runs or records):
        raise UsageError("--all goes without runs", "it means the last successful run of every step")
    wishes = Wishes(
        here=here,
        repository=repository,
        runtime=runtime,
        allowed=check_allowed(allow),
        upstream=upstream,
        comparisons=_comparisons(compare),
        output=output.absolute() if output else None,
    )
    results: list[Reproduction] = []
    with contextlib.ExitStack() as stack:
        chosen, beside = _wanted(stack, runs, records, everything=everything)
        _check_names(wishes.comparisons, chosen)
        report = stack.enter_context(reporter(quiet=as_json))
        stack.enter_context(_stdout_for_the_document(as_json))
        reproducer = Reproducer(_home(chosen[0]), Store(store_root()), report, wishes, beside)
        for run in chosen:
            for result in reproducer.reproduce(run):
                results.append(result)
                if not as_json:
                    click.echo(reproduction_text(result))
    click.echo(reproduction_document(results) if as_json else verdict_line(results))
    if not all(result.equal for result in results):
        context.exit(DIFFERENT)


def _wanted(
    stack: contextlib.ExitStack, runs: Sequence[str], records: Sequence[str], *, everything: bool
) -> tuple[list[Run], list[Run]]:
    """Return the runs to repeat, and those that came along with them in a bundle."""
    if everything:
        return _all_steps(), []
    chosen, beside = [wanted_run(text) for text in runs], []
    for place in records:
        if is_bundle(place):
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="repro-")))
            first, *others = open_bundle(Path(place), directory)
            chosen.append(first)
            beside += others
        else:
            chosen.append(wanted_run(str(Path(place).absolute())))
    return chosen or [_last()], beside


def _all_steps() -> list[Run]:
    """Return the last successful run of each step, those first that others take something from."""
    workspace = open_workspace()
    runs = list_runs(workspace.root)
    found = [run for step in workspace.project.steps if (run := runs.last_success(step))]
    if not found:
        raise UsageError("no step has a successful run here", hint="run `repro exec STEP`")
    return [Run(directory=runs_directory(workspace.root) / record.id, record=record) for record in found]


def _last() -> Run:
    """Return the last run that repeats no other."""
    home = project_root()
    record = next(list_runs(home).own, None)
    return wanted_run(record.id if record else "last")


def _home(run: Run) -> Path:
    """Return the project that keeps the new runs: the run's own, else the one here, else a new directory here."""
    if run.home:
        return run.home
    try:
        return project_root()
    except ConfigError:
        home = Path.cwd() / _UNSAFE.sub("_", run.record.id)
        click.echo(f"there is no project here: the new run will be below {home}", err=True)
        return home


def _comparisons(texts: Sequence[str]) -> dict[str, str]:
    found = {}
    for text in texts:
        name, _, how = text.partition("=")
        try:
            found[name.strip()] = canonical_comparison(how.strip())
        except ValueError as error:
            hint = 'write it so: --compare model="numeric: rtol=1e-6"'
            raise UsageError(f"--compare {text!r} is not OUTPUT=HOW", str(error), hint) from error
    return found


def _check_names(comparisons: Collection[str], runs: Sequence[Run]) -> None:
    known = {output.name for run in runs for output in run.record.outputs}
    for name in comparisons:
        if name not in known:
            raise UsageError(
                f"there is no output {name!r} to compare", f"there are {', '.join(sorted(known)) or 'none'}"
            )


@contextlib.contextmanager
def _stdout_for_the_document(wanted: bool) -> Iterator[None]:  # noqa: FBT001 - the block is the same either way
    """Let what the steps print go to standard error, so that standard output holds the one document."""
    if not wanted:
        yield
        return
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
