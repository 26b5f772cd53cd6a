"""In what the definition of a step differs between two of its runs: its code, and its slice of the lock."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from repro_env.lock.diff import Change, diff
from repro_env.lock.model import Lock, LockedStep
from repro_env.record.code import CodeChange
from repro_env.record.difference import Difference, Evidence, short
from repro_env.record.model import GitState

_OWN_FILES = ("repro.toml", "repro.lock")  # no part of a step's code; see `build.code`
_ARCHITECTURES = {"x86_64": "linux/amd64", "aarch64": "linux/arm64"}
_UNTOLD = "which files differ cannot be told: a commit, or what was not committed, is not here"


def code_causes(
    before: Evidence, after: Evidence, changes: Sequence[CodeChange] | None
) -> tuple[tuple[Difference, ...], tuple[str, ...]]:
    """Return how the step's code differs, and notes of what differs without being of the step.

    `changes` are the files of the project that differ, None where that cannot be told.
    """
    old, new = before.record, after.record
    commits = _commit(old.git), _commit(new.git)
    other = (f"the step's code is the same, although the commit is another: {commits[0]} -> {commits[1]}",)
    if old.definition is not None and old.definition == new.definition:
        return (), other if commits[0] != commits[1] else ()
    if changes is None:
        same = commits[0] == commits[1] == "none"
        return (() if same else (_commits(new.step, commits, _UNTOLD),)), ()
    own = [change for change in changes if _is_code(change.path, before.step, after.step)]
    files = [Difference(kind="code", step=new.step, what=change.path, told=str(change)) for change in own]
    if commits[0] == commits[1] or not files:
        return tuple(files), () if commits[0] == commits[1] else other
    return (_commits(new.step, commits), *files), ()


def _commits(step: str, commits: tuple[str, str], *untold: str) -> Difference:
    """Return that commits differ, which by itself explains nothing: its files do."""
    before, after = commits
    return Difference(kind="code", step=step, what="commit", before=before, after=after, details=untold, context=True)


def _commit(git: GitState | None) -> str:
    """Return a commit, and what was on top of it, in words."""
    if git is None or not git.dirty:
        return git.commit[:12] if git else "none"
    return f"{git.commit[:12]} with changes {git.diff.short if git.diff else 'that are not kept'}"


def _is_code(path: str, *steps: LockedStep | None) -> bool:
    """Whether a file is of the code of one of these steps, as far as that is known."""
    return any(step is None or _is_of(path, step) for step in steps)


def _is_of(path: str, step: LockedStep) -> bool:
    if step.code is None:
        return path not in _OWN_FILES
    return any(re.match(_pattern(glob), path) for glob in step.code)


def _pattern(glob: str) -> str:
    """Return a glob of `code` as a regular expression, which also matches all below what it names."""
    clean = "/".join(part for part in glob.split("/") if part not in {"", "."})
    if not clean:
        return ""
    words = re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]]+\])", clean)
    special = {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    text = "".join(special.get(word) or (_set(word) if word.startswith("[") else re.escape(word)) for word in words)
    return f"{text}(?:/|\\Z)"


def _set(word: str) -> str:
    body = word[1:-1].replace("\\", "\\\\")
    return f"[^{body[1:]}]" if body.startswith("!") else f"[{body}]"


def lock_causes(before: Evidence, after: Evidence) -> Iterator[Difference]:
    """Yield what two locks pin differently of the step, its packages and its base."""
    old, new = before.record, after.record
    if old.lock == new.lock:
        return
    if before.lock is None or after.lock is None or before.step is None or after.step is None:
        details = ("what it pins cannot be compared: its copy is not kept with both runs",)
        known = (short(old.lock), short(new.lock))
        yield Difference(
            kind="settings", step=new.step, what="repro.lock", before=known[0], after=known[1], details=details
        )
        return
    changes = diff(_slice(before.lock, before.step, after.step), _slice(after.lock, after.step, after.step))
    platform = _ARCHITECTURES.get(new.host.architecture if new.host else "", "")
    matter = [change for change in changes if not (change.platform and platform and change.platform != platform)]
    matter = [change for change in matter if not _told_elsewhere(change)]
    images = [change for change in matter if change.what == "environment image"]
    for change in images if len(images) == len(matter) else [change for change in matter if change not in images]:
        yield _changed(change, new.step)


def _slice(lock: Lock, step: LockedStep, named: LockedStep) -> Lock:
    """Return what a lock says of one step and its base, both under the name that they have in the later lock."""
    base = lock.bases[step.base]
    return replace(
        lock,
        project="",
        bases={named.base: replace(base, name=named.base)},
        steps={named.name: replace(step, name=named.name)},
        data={},
    )


def _told_elsewhere(change: Change) -> bool:
    """Whether a change of a step is told by the record's own words: its variables and secrets."""
    return change.subject.startswith("step ") and (change.what.startswith("env ") or change.what == "secrets")


def _changed(change: Change, step: str) -> Difference:
    is_base = change.subject.startswith("base ")
    kind = "base" if is_base else "packages" if change.package else "settings"
    what = f"{change.subject}: {change.what}" if is_base else change.what
    return Difference(kind=kind, step=step, what=what, before=change.before, after=change.after)
