"""The page of one run: its lineage as a picture, then all that its record says, then the runs upstream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import tzinfo
from importlib.resources import files
from string import Template

from repro_env.record.describe import TONES, Cell, Section, describe
from repro_env.record.lineage import Lineage
from repro_env.record.model import RunRecord
from repro_env.record.page.markup import Markup, element, escape, joined
from repro_env.record.page.picture import legend, picture, status_mark
from repro_env.record.words import duration, ended, marks, moment, seconds_of

_OPEN = 3  # upstream runs that are shown without being asked for


def page(found: Lineage, *, log: str, zone: tzinfo | None) -> str:
    """Return the page of a run, which fetches nothing and runs nothing.

    `log` is the end of what the step printed; times are in `zone`, None for the machine's own.
    """
    anchors = {run: f"run-{number}" for number, run in enumerate([*found.runs][::-1])}
    printed = joined(element("h2", "The end of what it printed"), element("pre", log)) if log else Markup()
    told = joined(element("h2", "This run"), _sections(describe(found.run, zone), anchors, anchors[found.run.id]))
    parts = [
        _header(found.run, zone),
        _figure(found, anchors),
        *((printed, told) if found.run.status == "failed" else (told, printed)),  # where the reason stands comes first
        _upstream(found, anchors, zone),
        _missing(found.missing),
        element("footer", f"Written by repro {found.run.program} from the records of {_count(len(found.runs))}."),
    ]
    room = files(__package__)
    template = Template(room.joinpath("page.html").read_text(encoding="utf-8"))
    style = room.joinpath("page.css").read_text(encoding="utf-8")
    title = escape(f"{found.run.step}: run {found.run.id}")
    return template.substitute(title=title, style=style, body=joined(*parts))


def _header(record: RunRecord, zone: tzinfo | None) -> Markup:
    seconds = seconds_of(record)
    notes = [element("li", note) for note in marks(record)]
    return element(
        "header",
        element("p", f"Project {record.project}, step", class_="of"),
        element("h1", record.step),
        element(
            "p",
            _status(record),
            element("span", moment(record.started, zone)),
            element("span", f"took {duration(seconds)}") if seconds is not None else "",
            element("span", record.id, class_="code"),
            class_="line",
        ),
        element("ul", *notes, class_="notes doubt") if notes else "",
    )


def _status(record: RunRecord) -> Markup:
    return element("span", status_mark(record.status), ended(record), class_=f"status {TONES[record.status]}")


def _figure(found: Lineage, anchors: Mapping[str, str]) -> Markup:
    drawn = element("div", picture(found, anchors), class_="picture", tabindex=0)
    return element("figure", drawn, element("figcaption", *legend(found), class_="legend"))


def _sections(sections: Sequence[Section], anchors: Mapping[str, str], anchor: str = "") -> Markup:
    return element("div", *(_section(section, anchors) for section in sections), class_="sections", id=anchor)


def _section(section: Section, anchors: Mapping[str, str]) -> Markup:
    rows = [element("tr", *_cells(section, row, anchors)) for row in section.rows]
    heads = [element("th", title, scope="col") for title in section.columns]
    head = element("thead", element("tr", *heads)) if heads else ""
    table = element("table", head, element("tbody", *rows), class_="table" if heads else "facts")
    kind = "section wide" if heads else "section"
    return element(
        "section", element("h3", section.title.capitalize()), element("div", table, class_="scroll"), class_=kind
    )


def _cells(section: Section, row: Sequence[Cell], anchors: Mapping[str, str]) -> Iterator[Markup]:
    """Yield a row's cells; in a table, each with its column's title, for where there is no room for columns."""
    if not section.columns:
        yield element("th", row[0].text, scope="row")
        yield _cell(row[1], "", anchors)
    else:
        yield from (_cell(cell, title, anchors) for cell, title in zip(row, section.columns, strict=True))


def _cell(cell: Cell, title: str, anchors: Mapping[str, str]) -> Markup:
    anchor = anchors.get(cell.run)
    text = element("a", cell.text, href=f"#{anchor}") if anchor else cell.text
    style = " ".join(filter(None, (cell.tone, "code" if cell.code else "")))
    return element("td", element("span", text, class_=style), data_title=title)


def _upstream(found: Lineage, anchors: Mapping[str, str], zone: tzinfo | None) -> Markup:
    runs = [record for record in [*found.runs.values()][::-1] if record.id != found.run.id]
    if not runs:
        return Markup()
    is_open = "open" if len(runs) <= _OPEN else ""
    shown = [_run(record, anchors, zone, is_open) for record in runs]
    return joined(element("h2", f"Upstream: {_count(len(runs))}"), *shown)


def _run(record: RunRecord, anchors: Mapping[str, str], zone: tzinfo | None, is_open: str) -> Markup:
    """Return an upstream run. Its anchor stands inside, so that a link to it opens what is folded."""
    seconds = seconds_of(record)
    summary = element(
        "summary",
        element("span", record.step, class_="name"),
        _status(record),
        element("span", duration(seconds) if seconds is not None else "", class_="quiet"),
        element("span", record.id, class_="code quiet"),
    )
    sections = element("div", _sections(describe(record, zone), anchors), id=anchors[record.id])
    return element("details", summary, sections, open=is_open)


def _missing(runs: Sequence[str]) -> Markup:
    if not runs:
        return Markup()
    items = [element("li", run, class_="code") for run in runs]
    told = element("p", "Inputs name these runs, and their records are not here: the lineage ends there.")
    return joined(element("h2", "Records that are missing"), told, element("ul", *items))


def _count(runs: int) -> str:
    return "1 run" if runs == 1 else f"{runs} runs"
