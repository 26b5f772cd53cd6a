"""Saying what would be missing at run time in images that were built, and which packages have it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from repro_env.build.inspect import Inspected, inspect_image
from repro_env.build.missing_findings import Packages
from repro_env.build.native import Built
from repro_env.cli.project import Workspace
from repro_env.config.model import DebianBase
from repro_env.edges.report import Reporter
from repro_env.errors import BuildError, ReproError
from repro_env.frozen import dataclass
from repro_env.image.store import Store
from repro_env.lock.model import DebianRoot, Lock


@dataclass(frozen=True, slots=True)
class Looked:
    """What was found in the environment image of one step; `inspected` is None where it cannot be looked into here."""

    built: Built
    base: str
    debian: bool
    inspected: Inspected | None

    def lines(self, *, strict: bool) -> tuple[str, ...]:
        """Return what a person should know, a line for each thing; that nothing is known only if that is `strict`."""
        if self.inspected is None:
            return (f"the layers of base.{self.base} are not here to be looked into",) if strict else ()
        if self.inspected.clean:
            return ()
        from repro_env.build.missing_words import missing_from_document, missing_lines  # noqa: PLC0415 - seldom

        missing = missing_from_document(self.inspected.missing)
        return tuple(missing_lines(missing, self.inspected.packages, base=self.base, debian=self.debian))

    def document(self) -> Mapping[str, Any]:
        """Return the same for programs; `checked` is false where the base's bytes are not in the store."""
        place = {"step": self.built.step, "platform": str(self.built.platform)}
        if self.inspected is None:
            return {**place, "checked": False}
        return {**place, "checked": True, **self.inspected.missing, "packages": dict(self.inspected.packages.names)}


def look_into(
    workspace: Workspace, lock: Lock, built: Sequence[Built], store: Store, report: Reporter
) -> tuple[Looked, ...]:
    """Look into images that were built, each once: what was found is remembered. Errors: `IntegrityError`."""
    return tuple(_look(workspace, lock, one, store, report) for one in built)


def warn_missing(looked: Sequence[Looked], report: Reporter, *, strict: bool = False) -> None:
    """Say what is missing, each thing once with the steps it concerns. Errors: `BuildError` with `strict`."""
    steps: dict[str, list[str]] = defaultdict(list)
    for one in looked:
        for line in one.lines(strict=strict):
            steps[line].append(one.built.step)
    lines = [f"{_steps(names)}: {line}" for line, names in steps.items()]
    if lines and strict:
        hint = "add what is missing, or build without --strict"
        raise BuildError("the images would lack something when they run", "\n".join(lines), hint)
    for line in lines:
        report.warn(line)


def warn_missing_in_new(
    workspace: Workspace, lock: Lock, built: Sequence[Built], store: Store, report: Reporter
) -> None:
    """Say what is missing in those environment images that were not there before, so that it is said once."""
    fresh = [one for one in built if not one.reused]
    warn_missing(look_into(workspace, lock, fresh, store, report), report)


def _steps(names: Sequence[str]) -> str:
    distinct = list(dict.fromkeys(names))
    return f"{'step' if len(distinct) == 1 else 'steps'} {', '.join(distinct)}"


def _look(workspace: Workspace, lock: Lock, built: Built, store: Store, report: Reporter) -> Looked:
    step = lock.steps[built.step]
    root = lock.bases[step.base].roots[built.platform]

    def packages(libraries: Sequence[str]) -> Packages | None:
        base = workspace.project.bases[step.base]
        if not isinstance(base, DebianBase) or not isinstance(root, DebianRoot):
            return Packages()
        return _packages(workspace, base, root, built, libraries, store, report)

    inspected = inspect_image(store, built.environment, step.env, packages=packages, again=not built.reused)
    return Looked(built, step.base, isinstance(root, DebianRoot), inspected)


def _packages(
    workspace: Workspace,
    base: DebianBase,
    root: DebianRoot,
    built: Built,
    libraries: Sequence[str],
    store: Store,
    report: Reporter,
) -> Packages | None:
    """Return which packages have these libraries, or None when the suite's list of files cannot be had."""
    # Needed only where something is missing, and urllib3 with it.
    from repro_env.cli.fetching import Fetching  # noqa: PLC0415 - what a rebuild does without
    from repro_env.cli.settings import mirrors  # noqa: PLC0415 - what a rebuild does without
    from repro_env.resolve.debian.archive import Archive  # noqa: PLC0415 - what a rebuild does without
    from repro_env.resolve.debian.contents import library_packages  # noqa: PLC0415 - what a rebuild does without

    archive = Archive(
        http=Fetching(workspace).http,
        store=store,
        report=report,
        mirrors=mirrors().with_main(base.mirror),
        now=datetime.now(UTC),
    )
    try:
        found = library_packages(archive, base.debian, root, built.platform, libraries)
    except ReproError:
        return None  # the warning is worth more than the package's name, and nothing else was asked for
    return Packages(found.names, found.brings)
