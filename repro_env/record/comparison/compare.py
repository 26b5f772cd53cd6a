"""One output held against that of another run, file or directory, by the comparison that it declares."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from repro_env.config.comparison import Comparison
from repro_env.edges.files import os_errors
from repro_env.frozen import dataclass
from repro_env.record.comparison.base import Comparator, ComparisonError, UnreadableError, Verdict
from repro_env.record.comparison.exact import Exact

Make = Callable[[Comparison], Comparator]

RunCommand = Callable[[Sequence[str], Path, Path], tuple[int, str]]
"""Runs a comparison's command, whose words hold `{a}` and `{b}` for the two paths: exit status and what it printed."""

_EQUAL, _DIFFERENT = 0, 1
_SHOWN = 300  # characters of what a command printed


def compare(then: Path, now: Path, comparison: Comparison, *, run_command: RunCommand) -> Verdict:
    """Compare an output with that of a later run, and return whether they are equal, or what differs first.

    In directories the same names must be there, and each pair of files is compared like an output of its own; what the
    comparison does not read, byte for byte. Errors: `ComparisonError`, `StoreError`.
    """
    if comparison.method == "command":
        return _by_command(comparison, then, now, run_command)
    kinds = _kind(then), _kind(now)
    if kinds[0] != kinds[1]:
        return Verdict(equal=False, difference=f"is {kinds[0]} then, {kinds[1]} now")
    if kinds[0] == "a file":
        return _compare_file(comparator(comparison, then.name), then, now)
    return _compare_directories(then, now, comparison)


def comparator(comparison: Comparison, name: str) -> Comparator:
    """Return what compares files of that name.

    Errors: `ComparisonError` where the method cannot read it, or where a library that it needs is not installed.
    """
    known = _comparators(comparison.method)
    suffix = os.path.splitext(name)[1].lower()
    for suffixes, make in known:
        if not suffixes or suffix in suffixes:
            return make(comparison)
    readable = ", ".join(suffix for suffixes, _make in known for suffix in suffixes)
    hint = 'declare another comparison of it, or compare = "command: ..." with a program of your own'
    raise ComparisonError(f"{name} cannot be compared as {comparison.method}", f"that reads {readable}", hint)


def check_available(comparison: Comparison, path: str) -> None:
    """Check before a long run that a file it makes can be compared after it. Errors: as `comparator`."""
    if comparison.method != "command":
        comparator(comparison, path)


def _comparators(method: str) -> Sequence[tuple[Sequence[str], Make]]:
    """Return what a method is made of, each with the ends of the names that it reads, empty for all."""
    from repro_env.record.comparison import arrays, delimited, documents, pictures, tables  # noqa: PLC0415 - rarely used

    table: tuple[Sequence[str], Make] = (tables.Tables.suffixes, tables.Tables)
    document: tuple[Sequence[str], Make] = (documents.Documents.suffixes, documents.Documents)
    methods: dict[str, Sequence[tuple[Sequence[str], Make]]] = {
        "exact": [((), lambda _comparison: Exact())],
        "numeric": [
            (arrays.Arrays.suffixes, arrays.Arrays),
            (delimited.Delimited.suffixes, delimited.Delimited),
            document,
            table,
        ],
        "parquet": [table],
        "json": [document],
        "image": [(pictures.Pictures.suffixes, pictures.Pictures)],
    }
    return methods[method]


def _compare_file(chosen: Comparator, then: Path, now: Path) -> Verdict:
    try:
        return chosen.compare(then, now)
    except UnreadableError as error:
        side = "then" if error.path == then else "now"
        return Verdict(equal=False, difference=f"what was made {side} cannot be read: {error.why}")
    except RecursionError:
        return Verdict(equal=False, difference="what was made is nested too deep to be compared")


def _by_command(comparison: Comparison, then: Path, now: Path, run_command: RunCommand) -> Verdict:
    status, said = run_command(comparison.command, then, now)
    said = " ".join(said.split())[:_SHOWN]
    if status not in {_EQUAL, _DIFFERENT}:
        hint = "it must exit with 0 for equal and 1 for different"
        raise ComparisonError(f"the comparison's command ended with exit status {status}", said, hint)
    return Verdict(equal=status == _EQUAL, difference="" if status == _EQUAL else said or "the command says so")


def _kind(path: Path) -> str:
    return "a directory" if path.is_dir() else "a file"


@dataclass(frozen=True, slots=True)
class _Entry:
    """A file below a directory, or a link's target."""

    link: str
    executable: bool


def _compare_directories(then: Path, now: Path, comparison: Comparison) -> Verdict:
    before, after = dict(_entries(then)), dict(_entries(now))
    names = sorted({*before, *after})
    different: list[tuple[str, Verdict]] = []
    for name in names:
        verdict = _compare_entries(name, before.get(name), after.get(name), (then, now), comparison)
        if not verdict.equal:
            different.append((name, verdict))
    if not different:
        return Verdict(equal=True)
    name, first = different[0]
    extent = "; ".join(part for part in (first.extent, f"{len(different)} of {len(names)} files differ") if part)
    where = f"{name}, {first.where}" if first.where else name
    return Verdict(
        equal=False,
        where=where,
        difference=first.difference,
        extent=extent,
        count=len(different),
        total=len(names),
        absolute=first.absolute,
        relative=first.relative,
    )


def _compare_entries(
    name: str, before: _Entry | None, after: _Entry | None, roots: tuple[Path, Path], comparison: Comparison
) -> Verdict:
    if before is None or after is None:
        return Verdict(equal=False, difference="is missing" if after is None else "is new")
    if before != after:
        return Verdict(equal=False, difference=f"is {_words(before)} then, {_words(after)} now")
    then, now = (root / name for root in roots)
    if before.link:
        return Verdict(equal=True)
    exact = Exact().compare(then, now)
    if exact.equal:
        return exact
    try:
        chosen = comparator(comparison, name)
    except ComparisonError:
        return exact
    return _compare_file(chosen, then, now)


def _words(entry: _Entry) -> str:
    return f"a link to {entry.link}" if entry.link else "executable" if entry.executable else "not executable"


def _entries(root: Path) -> Iterator[tuple[str, _Entry]]:
    with os_errors(f"read {root}"):
        for folder, directories, names in os.walk(root):
            links = [name for name in directories if os.path.islink(os.path.join(folder, name))]
            for name in (*names, *links):
                path = os.path.join(folder, name)
                link = os.readlink(path) if os.path.islink(path) else ""
                executable = not link and bool(os.stat(path).st_mode & 0o100)
                yield os.path.relpath(path, root), _Entry(link, executable)
