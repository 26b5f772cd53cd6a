"""`repro show`: one run, whole."""

from __future__ import annotations

from pathlib import Path

import click

from repro_env.cli.examples import WithExamples
from repro_env.cli.history import runs_around, wanted_run
from repro_env.cli.show_formats import FORMATS, Shown
from repro_env.edges.files import write_atomically
from repro_env.errors import IntegrityError, UsageError
from repro_env.record.lineage import lineage
from repro_env.record.runs import Run

_EXAMPLES = (
    ("repro show train", "the last run of a step"),
    ("repro show 20261123T1015", "the run whose id begins so"),
    ("repro show train --html train.html", "a page to look at, keep or send"),
)


@click.command("show", cls=WithExamples, examples=_EXAMPLES)
@click.argument("run", default="last")
@click.option("--json", "as_json", is_flag=True, help="Print the record: an in-toto statement with SLSA provenance.")
@click.option("--format", "form", type=click.Choice([*FORMATS]), default="text", help="Print it as others know runs.")
@click.option("--html", "page", type=click.Path(path_type=Path), metavar="FILE", help="Write one self-contained page.")
@click.option(
    "--bundle",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write a tar with what `repro reproduce --from` needs of it elsewhere.",
)
@click.option("--verify", is_flag=True, help="Hold the record against its signature and the files that it names.")
@click.option(
    "--key",
    "keys",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    multiple=True,
    metavar="FILE",
    help="With --verify: a public key (PEM) that may have signed it. May be given again.",
)
def command(
    *,
    run: str,
    as_json: bool,
    form: str,
    page: Path | None,
    bundle: Path | None,
    verify: bool,
    keys: tuple[Path, ...],
) -> None:
    """Show one run: what ran, from what, what it made, how it went, and its lineage up to the raw data.

    RUN is a run's id, the beginning of it or its last four digits; a step, for its last run; the path of a record; or
    `last`, which may be left out.
    """
    if keys and not verify:
        raise UsageError("--key goes with --verify", "without that nothing is held against a signature")
    found = wanted_run(run)
    around = {one.record.id: one for one in runs_around(found)}
    shown = Shown(run=found, lineage=lineage(found.record, (one.record for one in around.values())))
    if verify:
        _verify(found, keys)
    elif bundle is not None:
        from repro_env.record.bundle import write_bundle  # noqa: PLC0415 - only for a bundle

        write_bundle(found, [around[run] for run in shown.lineage.runs if run != found.record.id], bundle)
        click.echo(f"wrote {bundle}")
    elif page is not None:
        write_atomically(page, FORMATS["html"](shown).encode())
        click.echo(f"wrote {page}")
    else:
        text = FORMATS["slsa" if as_json else form](shown)
        click.echo(text, nl=False)


def _verify(run: Run, keys: tuple[Path, ...]) -> None:
    from repro_env.record.signing import check_record  # noqa: PLC0415 - only for those who verify

    checked = check_record(run.directory, run.record, keys)
    if checked.problems:
        raise IntegrityError(f"run {run.record.id} does not verify", "\n".join(checked.problems))
    signed = f"; signed with {', '.join(signer[:12] for signer in checked.signers)}" if checked.signers else ""
    click.echo(f"run {run.record.id}: its lock, code, log and manifests are those that it names{signed}")
    if not keys:
        click.echo("its signature was not looked at: give --key with a public key")
