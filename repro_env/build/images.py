"""Building the steps of a lock, and holding the result against what the lock recorded."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repro_env.build.code import Code, find_code
from repro_env.build.native import Builder, Built, is_built
from repro_env.build.secret_files import warn_of_secrets
from repro_env.edges.report import Reporter, Silent
from repro_env.errors import BuildError
from repro_env.frozen import dataclass
from repro_env.image.oci import INDEX_TYPE, MANIFEST_TYPE, descriptor, index_document
from repro_env.image.store import Store, canonical_json
from repro_env.lock.gpu_code import gpu_code_of
from repro_env.lock.model import Environment, Lock, LockedStep, Wheel
from repro_env.values import Digest, Platform, format_size

if TYPE_CHECKING:
    from repro_env.image.compare import Comparison

LARGE_CODE = 10 << 20
"""Bytes of one step's code above which its largest files are named."""

_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Which steps to build, on which platforms, from the project at `root`, with how many workers.

    With `update`, what the lock recorded of an earlier build does not count.
    """

    lock: Lock
    steps: Sequence[str]
    platforms: Sequence[Platform]
    root: Path
    workers: int
    update: bool = False


def missing_environments(order: Order, store: Store) -> list[tuple[str, Platform]]:
    """Return the steps and platforms for which something has to be downloaded.

    That is where the environment image is not in the store as the lock records it, or not what builds people's own
    packages.
    """
    return [
        (name, platform)
        for name in order.steps
        for platform in order.platforms
        if not is_built(order.lock, order.lock.steps[name], platform, store)
        or _not_here(order.lock.steps[name].environments[platform], store)
    ]


def build_images(order: Order, *, store: Store, report: Reporter) -> tuple[Built, ...]:
    """Build the steps of an order, in its order, from what is in the store.

    Code that holds secrets, or much, is warned of. Errors: `IntegrityError`, `BuildError`, `StoreError`.
    """
    builder = Builder(store, order.workers, report, order.update)
    codes = {name: find_code(order.lock.steps[name], order.lock, order.root) for name in order.steps}
    warn_of_code(codes, order.lock, report)
    local = local_wheels(order, store, report)
    return tuple(
        builder.build(order.lock, order.lock.steps[name], platform, codes[name], local.get((name, platform), ()))
        for name in order.steps
        for platform in order.platforms
    )


def _here(step: LockedStep) -> Environment | None:
    """Return the step's environment on this machine's platform, None where it is not locked for that."""
    machine = os.uname().machine
    return next((one for platform, one in step.environments.items() if platform.machine == machine), None)


def _not_here(environment: Environment, store: Store) -> bool:
    """Whether something is not in the store that building people's own packages, or placing them, takes."""
    return bool(environment.local) and not all(store.has(one.sha256, one.size) for one in environment.all_wheels)


def local_digests(lock: Lock, step: str, platform: Platform, root: Path, store: Store) -> dict[str, Digest]:
    """Return the digests of the sources of a step's packages of people's own, by name. Errors: `BuildError`."""
    environment = lock.steps[step].environments[platform]
    if not environment.local:
        return {}
    from repro_env.build.local import LocalBuilds  # noqa: PLC0415 - what most projects do without

    return LocalBuilds(lock, root, store, Silent()).digests(environment)


def local_wheels(order: Order, store: Store, report: Reporter) -> dict[tuple[str, Platform], tuple[Wheel, ...]]:
    """Return the wheels of people's own packages, of the steps and platforms that have any, built as they stand now.

    Errors: `BuildError`, `StoreError`.
    """
    pairs = [(name, platform) for name in order.steps for platform in order.platforms]
    environments = {(name, platform): order.lock.steps[name].environments[platform] for name, platform in pairs}
    if not any(environment.local for environment in environments.values()):
        return {}
    from repro_env.build.local import LocalBuilds  # noqa: PLC0415 - what most projects do without

    builds = LocalBuilds(order.lock, order.root, store, report)
    return {
        (name, platform): builds.wheels(environment, order.lock.steps[name].python, _here(order.lock.steps[name]))
        for (name, platform), environment in environments.items()
        if environment.local
    }


def name_images(built: Sequence[Built], platforms: Sequence[Platform], store: Store) -> None:
    """Let the store's index name each step's image, `PROJECT/STEP`: an index of the images of all `platforms`.

    On one platform it is that image's manifest itself. A step that was not built on all of them keeps the name it has.
    Errors: `StoreError`, `IntegrityError`.
    """
    steps: dict[str, dict[Platform, Digest]] = {}
    for one in built:
        steps.setdefault(one.reference, {})[one.platform] = one.image
    known = store.references()
    for reference, images in steps.items():
        if set(images) != set(platforms):
            continue
        document = _named(images, store)
        if known.get(reference) != Digest.parse(document["digest"]):
            store.name(reference, document)


def _named(images: Mapping[Platform, Digest], store: Store) -> dict[str, Any]:
    """Return the descriptor of an image, or of the index of several, which is kept in the store."""
    described = {platform: descriptor(MANIFEST_TYPE, store.read(digest)) for platform, digest in images.items()}
    if len(described) == 1:
        ((platform, one),) = described.items()
        return {**one, "platform": {"architecture": platform.architecture, "os": "linux"}}
    index = canonical_json(index_document(described))
    store.add(index)
    return descriptor(INDEX_TYPE, index)


def warn_of_code(codes: Mapping[str, Code], lock: Lock, report: Reporter) -> None:
    """Warn of what is probably not meant: no code at all, or in it secrets, once, and much of anything."""
    for name, code in codes.items():
        if not code.files and lock.steps[name].code is None:
            hint = "`git add` it, or name it with code = [...]; code = [] says that there is none"
            report.warn(f"step {name} holds no code: git tracks none in this project\n  {hint}")
    warn_of_secrets([secret for code in codes.values() for secret in code.secrets], report)
    large: dict[Code, list[str]] = {}  # steps without `code` share theirs
    for name, code in codes.items():
        if code.size > LARGE_CODE:
            large.setdefault(code, []).append(name)
    for code, names in large.items():
        heaviest = ", ".join(f"{file.path} ({format_size(file.size)})" for file in code.largest(_NAMED))
        steps = f"step{'s' if len(names) > 1 else ''} {', '.join(names)}"
        hint = "name what belongs to it with code = [...], or pass large files as data"
        report.warn(f"the code of {steps} is {format_size(code.size)}: {heaviest}\n  {hint}")


def record_environments(lock: Lock, built: Iterable[Built], store: Store, *, update: bool) -> Lock:
    """Return the lock with the digests of the environment images that were built, and their wheels' GPU code.

    A lock that has another digest already was built elsewhere to other bytes: where that image is in the store, the
    error names what differs. Errors: `BuildError`, unless `update`.
    """
    steps, gpu_code = dict(lock.steps), dict(lock.gpu_code)
    for one in built:
        step = steps[one.step]
        environment = step.environments[one.platform]
        if environment.image not in {None, one.environment} and not update:
            raise _differs(one, environment.image, store)
        environments = {**step.environments, one.platform: replace(environment, image=one.environment)}
        steps[one.step] = replace(step, environments=environments)
        for wheel in environment.installed:
            gpu_code.pop(wheel.sha256, None)
        gpu_code |= {wheel.sha256: code for wheel, code in one.gpu_code}
    return replace(lock, steps=steps, gpu_code=gpu_code)


def keep_newer(current: Lock, before: Lock, recorded: Lock) -> Lock:
    """Return what to write after a build: `recorded`, but for what another command has changed in the lock meanwhile.

    `before` is the lock that the build read and `current` the one that is there now. A digest is recorded only where
    both the step and its base are still those that were built.
    """
    if current == before:
        return recorded
    steps = {
        name: recorded.steps[name]
        if step == before.steps.get(name) and current.bases[step.base] == before.bases[step.base]
        else step
        for name, step in current.steps.items()
    }
    kept = replace(current, steps=steps)
    known = {**current.gpu_code, **recorded.gpu_code}
    return replace(kept, gpu_code=gpu_code_of(known, (wheel.sha256 for wheel in kept.installed)))


def compare_with_recorded(store: Store, built: Digest, other: Store, recorded: Digest | None) -> Comparison:
    """Return what an image has differently than the one that a lock records, as far as that is in the other store."""
    from repro_env.image.compare import Comparison, compare_images  # noqa: PLC0415 - what a rebuild does without

    if recorded is None or not other.has(recorded):
        return Comparison(())
    return compare_images(store, built, other, recorded)


def _differs(built: Built, recorded: Digest | None, store: Store) -> BuildError:
    why = [f"the lock records {recorded}", f"this build gave  {built.environment}"]
    why += map(str, compare_with_recorded(store, built.environment, store, recorded).differences)
    hint = "run `repro build --update` to record this one, if the lock's was made by an older repro"
    return BuildError(f"the environment of step {built.step} came out different", "\n".join(why), hint)
