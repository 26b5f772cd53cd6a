"""`repro show`: one run, whole."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import click

from repro_env.cli.history import paint, runs_around, wanted_run
from repro_env.edges.files import write_atomically
from repro_env.record.lineage import Lineage, lineage
from repro_env.record.runs import Run, document
from repro_env.record.text import run_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A run, and where its inputs come from."""

    run: Run
    lineage: Lineage


def _text(shown: Shown) -> str:
    return run_text(shown.lineage, None, paint)


def _json(shown: Shown) -> str:
    return document(shown.run.record).decode()


def _html(shown: Shown) -> str:
    from repro_env.cli.run_page import run_page  # noqa: PLC0415 - only for a page

    return run_page(shown.run, shown.lineage)


FORMATS: Mapping[str, Callable[[Shown], str]] = {"text": _text, "json": _json, "html": _html}
"""Every way to show a run, as the whole text of it."""


@click.command("show")
@click.argument("run", default="last")
@click.option("--json", "as_json", is_flag=True, help="Print the record: an in-toto statement, as it is on disk.")
@click.option("--html", "page", type=click.Path(path_type=Path), metavar="FILE", help="Write one self-contained page.")
@click.option(
    "--bundle",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write a tar with what `repro reproduce --from` needs of it elsewhere.",
)
def command(*, run: str, as_json: bool, page: Path | None, bundle: Path | None) -> None:
    """Show one run: what ran, from what, what it made, how it went, and its lineage up to the raw data.

    RUN is a run's id or the beginning of it, `last` (which is also what is shown without it), a step, for its last run,
    or the path of a record.
    """
    found = wanted_run(run)
    shown = Shown(run=found, lineage=lineage(found.record, runs_around(found).records))
    if bundle is not None:
        from repro_env.record.bundle import write_bundle  # noqa: PLC0415 - only for a bundle

        beside = [Run(directory=found.directory.parent / one.id, record=one) for one in shown.lineage.runs.values()]
        write_bundle(found, [one for one in beside if one.record != found.record], bundle)
        click.echo(f"wrote {bundle}")
    elif page is not None:
        write_atomically(page, FORMATS["html"](shown).encode())
        click.echo(f"wrote {page}")
    else:
        text = FORMATS["json" if as_json else "text"](shown)
        click.echo(text, nl=False, color=False if "NO_COLOR" in os.environ else None)
