"""What changed between two locks, in people's words."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TypeVar

from repro_env.frozen import dataclass
from repro_env.lock.cuda import compat_words, cuda_words
from repro_env.lock.machine import settings
from repro_env.lock.model import (
    DebianRoot,
    Environment,
    ImageRoot,
    Lock,
    LockedBase,
    LockedData,
    LockedStep,
    Root,
    SourcePackage,
)
from repro_env.values import Platform, format_size

T = TypeVar("T")

_Version = tuple[str, str]  # and the file's hash, for people


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One difference in one base, data or step, called `subject` ("step clean").

    `what` is a package's or a setting's name, and empty where the subject itself was added or removed. `before` and
    `after` are its values for people, empty where there is none. `platform` is empty where all platforms share it.
    """

    subject: str
    what: str = ""
    before: str = ""
    after: str = ""
    package: bool = False
    platform: str = ""

    def __str__(self) -> str:
        if not self.what:
            return "removed" if self.before else "added"
        name = self.what if self.package else f"{self.what}:"
        where = f" ({self.platform})" if self.platform else ""
        if self.before and self.after:
            return f"{name} {self.before} -> {self.after}{where}"
        return f"+ {name} {self.after}{where}" if self.after else f"- {name} {self.before}{where}"


def diff(before: Lock, after: Lock) -> tuple[Change, ...]:
    """Return every difference that a person would want to know, bases first, then data, then steps."""
    project = _setting("project", "name", before.project, after.project)
    bases = _each("base", before.bases, after.bases, _base)
    data = _each("data", before.data, after.data, _data)
    steps = _each("step", before.steps, after.steps, _step)
    return (*project, *bases, *data, *steps)


def diff_lines(changes: Iterable[Change]) -> tuple[str, ...]:
    """Return the differences as text, a line for each subject and an indented one for each change of it."""
    lines: list[str] = []
    subject = ""
    for change in changes:
        if not change.what:
            lines.append(f"{change.subject}: {change}")
        else:
            if change.subject != subject:
                lines.append(change.subject)
            lines.append(f"  {change}")
        subject = change.subject
    return tuple(lines)


def _each(
    kind: str, before: Mapping[str, T], after: Mapping[str, T], compare: Callable[[str, T, T], Iterator[Change]]
) -> Iterator[Change]:
    for name in sorted({*before, *after}):
        subject = f"{kind} {name}"
        if name not in before:
            yield Change(subject=subject, after=name)
        elif name not in after:
            yield Change(subject=subject, before=name)
        else:
            yield from compare(subject, before[name], after[name])


def _base(subject: str, before: LockedBase, after: LockedBase) -> Iterator[Change]:
    yield from _setting(subject, "suite", before.suite, after.suite)
    yield from _setting(subject, "image", before.image, after.image)
    yield from _by_platform(subject, before.roots, after.roots, _root)


def _root(subject: str, before: Root, after: Root) -> Iterator[Change]:
    yield from _setting(subject, "glibc", before.glibc, after.glibc)
    yield from _setting(subject, "python", before.python, after.python)
    yield from _settings(subject, "index ", _dates(before), _dates(after))
    yield from _packages(subject, _versions(before), _versions(after))
    yield from _setting(subject, "manifest", _manifest(before), _manifest(after))
    yield from _setting(subject, "user", _user(before), _user(after))
    yield from _settings(subject, "env ", _env(before), _env(after))
    yield from _setting(subject, "cuda-compat", _compat(before), _compat(after))


def _dates(root: Root) -> Mapping[str, str]:
    return {source.suite: source.date for source in root.sources} if isinstance(root, DebianRoot) else {}


def _versions(root: Root) -> Mapping[str, _Version]:
    if isinstance(root, ImageRoot):
        return {}
    return {package.name: (package.version, package.sha256.short) for package in root.packages}


def _manifest(root: Root) -> str:
    return root.manifest.short if isinstance(root, ImageRoot) else ""


def _user(root: Root) -> str:
    return root.user if isinstance(root, ImageRoot) else ""


def _compat(root: Root) -> str:
    return compat_words(root.compat) if isinstance(root, ImageRoot) and root.compat else ""


def _env(root: Root) -> Mapping[str, str]:
    return root.env if isinstance(root, ImageRoot) else {}


def _data(subject: str, before: LockedData, after: LockedData) -> Iterator[Change]:
    for key in ("path", "source", "uri", "revision", "query", "connection", "kind", "pin"):
        yield from _setting(subject, key, getattr(before, key), getattr(after, key))
    for key in ("include", "exclude"):
        yield from _setting(subject, key, ", ".join(getattr(before, key)), ", ".join(getattr(after, key)))
    yield from _settings(subject, "option ", before.options, after.options)
    if before.digest != after.digest:
        yield from _setting(subject, "content", _content(before), _content(after))


def _content(data: LockedData) -> str:
    files = "1 file" if data.files == 1 else f"{data.files} files"
    weak = f", by {data.pin}" if data.is_weak else ""
    return f"{data.digest.short} ({files}, {format_size(data.size)}{weak})"


def _step(subject: str, before: LockedStep, after: LockedStep) -> Iterator[Change]:
    yield from _setting(subject, "base", before.base, after.base)
    yield from _setting(subject, "python", str(before.python), str(after.python))
    yield from _setting(subject, "torch-backend", before.torch_backend, after.torch_backend)
    yield from _setting(subject, "command", shlex.join(before.command), shlex.join(after.command))
    yield from _setting(subject, "inputs", ", ".join(before.inputs), ", ".join(after.inputs))
    yield from _settings(subject, "output ", before.outputs, after.outputs)
    yield from _settings(subject, "comparison of output ", before.compare, after.compare)
    yield from _setting(subject, "code", _code(before), _code(after))
    yield from _settings(subject, "env ", before.env, after.env)
    yield from _setting(subject, "secrets", ", ".join(before.secrets), ", ".join(after.secrets))
    yield from _setting(subject, "network", _yes(before.network), _yes(after.network))
    yield from _setting(subject, "bytecode", _yes(before.bytecode), _yes(after.bytecode))
    yield from _settings(subject, "deterministic ", before.deterministic, after.deterministic)
    yield from _settings(subject, "gpu ", settings(before.gpu), settings(after.gpu))
    yield from _settings(subject, "host ", settings(before.host), settings(after.host))
    yield from _by_platform(subject, before.environments, after.environments, _environment)


def _environment(subject: str, before: Environment, after: Environment) -> Iterator[Change]:
    yield from _setting(subject, "interpreter", before.interpreter, after.interpreter)
    yield from _setting(subject, "interpreter's origin", _origin(before), _origin(after))
    yield from _packages(subject, _python_packages(before), _python_packages(after))
    yield from _settings(subject, "", cuda_words(before.cuda), cuda_words(after.cuda))
    yield from _setting(subject, "layout", str(before.layout), str(after.layout))
    if before.image and after.image:
        yield from _setting(subject, "environment image", before.image.short, after.image.short)


def _python_packages(environment: Environment) -> Mapping[str, _Version]:
    """Return every package of an environment: wheels, those built of pinned sources, and those of people's own."""
    found = {wheel.name: (wheel.version, wheel.sha256.short) for wheel in environment.wheels}
    found |= {source.name: (f"{source.version} from its sources", _short(source)) for source in environment.sources}
    return found | {
        local.name: (f"{local.version or 'of some version'} at {local.path}", local.metadata.short)
        for local in environment.local
    }


def _short(source: SourcePackage) -> str:
    return source.sha256.short if source.wheel is None else source.wheel.sha256.short


def _origin(environment: Environment) -> str:
    return "the base" if environment.archive is None else environment.archive.sha256.short


def _code(step: LockedStep) -> str:
    return "what git tracks" if step.code is None else ", ".join(step.code) or "nothing"


def _yes(value: bool) -> str:  # noqa: FBT001 - a word for a value
    return "true" if value else "false"


def _setting(subject: str, what: str, before: str, after: str) -> Iterator[Change]:
    if before != after:
        yield Change(subject=subject, what=what, before=before or "none", after=after or "none")


def _settings(subject: str, prefix: str, before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Change]:
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            values = (before.get(name, ""), after.get(name, ""))
            yield Change(subject=subject, what=prefix + name, before=values[0], after=values[1])


def _packages(subject: str, before: Mapping[str, _Version], after: Mapping[str, _Version]) -> Iterator[Change]:
    """Yield packages that came, went, or are of another version; or of the same one in another file."""
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if old is None or new is None or old[0] != new[0]:
            texts = (old[0] if old else "", new[0] if new else "")
        else:
            texts = (f"{old[0]} ({old[1]})", f"{new[0]} ({new[1]})")
        if old != new:
            yield Change(subject=subject, what=name, before=texts[0], after=texts[1], package=True)


def _by_platform(
    subject: str,
    before: Mapping[Platform, T],
    after: Mapping[Platform, T],
    compare: Callable[[str, T, T], Iterator[Change]],
) -> Iterator[Change]:
    """Yield changes that all platforms share once, and the others with their platform's name."""
    for platform in sorted(before.keys() ^ after.keys()):
        name = str(platform)
        texts = (name, "") if platform in before else ("", name)
        yield Change(subject=subject, what="platform", before=texts[0], after=texts[1])
    both = sorted(before.keys() & after.keys())
    found: dict[Change, list[Platform]] = {}
    for platform in both:
        for change in compare(subject, before[platform], after[platform]):
            found.setdefault(change, []).append(platform)
    for change, platforms in found.items():
        if len(platforms) == len(both):
            yield change
        else:
            yield from (replace(change, platform=str(platform)) for platform in platforms)
