"""Building everything twice, in two fresh stores and under conditions that must not matter, and comparing the bytes.

Each build is a process of its own, `repro_env.cli.build_once`, because a umask, a time zone, a locale and a hash seed
belong to a process. The stores share what was downloaded, by hard links, and nothing that was derived.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import repro_env
from repro_env.build.images import Order, compare_with_recorded
from repro_env.edges import files, process
from repro_env.edges.report import Reporter
from repro_env.errors import BuildError, IntegrityError
from repro_env.frozen import dataclass
from repro_env.image.compare import Comparison, compare_images
from repro_env.image.oci import read_image
from repro_env.image.store import Store
from repro_env.lock.model import DebianRoot, ImageRoot, Root
from repro_env.values import Digest, Platform

_TIMEOUT = 4 * 3600.0
_NO_HARD_LINK = frozenset((errno.EMLINK, errno.EPERM, errno.EXDEV, errno.EOPNOTSUPP))

FIRST = "umask 022, UTC, C.UTF-8, one worker, in the project"
SECOND = "umask 077, another time zone, locale, home and hash seed, four workers, elsewhere"
"""What the two builds are done under; `here` and `there` in a difference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Twice:
    """One step on one platform, built twice.

    `recorded` is the environment image's digest in the lock, if any. `between` is what the two builds have differently,
    `against` what the first has differently than the recorded image, where that is in the store.
    """

    step: str
    platform: Platform
    environment: Digest
    image: Digest
    recorded: Digest | None
    between: Comparison
    against: Comparison

    @property
    def as_recorded(self) -> bool:
        """Whether the environment is the one in the lock, or the lock has none yet."""
        return self.recorded in {None, self.environment}

    @property
    def same(self) -> bool:
        """Whether nothing is wrong: the same bytes twice, and those that the lock records."""
        return self.between.same and self.as_recorded


@dataclass(frozen=True, slots=True)
class Checked:
    """What building twice has shown, and which blobs of the store were damaged and are not any more."""

    images: tuple[Twice, ...]
    mended: tuple[Digest, ...]


def build_twice(order: Order, *, store: Store, report: Reporter) -> Checked:
    """Build the steps of an order twice and compare. What they are made of is in the store already.

    The store's own copies of the images' blobs are read as well; a damaged one is replaced by that of the first build.
    Errors: `BuildError` when a build fails, `StoreError`.
    """
    shared = downloaded(order)
    with _fresh_stores(store) as (first, second):
        results = []
        with report.task("building twice", 2, unit="builds") as task:
            for number, other in enumerate((first, second)):
                share(store, other, shared)
                results.append(_build(order, other, number))
                task.advance(1)
        images = tuple(_compared(order, key, store, (first, second), results) for key in results[0])
        return Checked(images, tuple(_mend(store, first, results[0], report)))


def downloaded(order: Order) -> frozenset[Digest]:
    """Return the digests of all that an order's images are made of and that was not made here."""
    found: set[Digest] = set()
    for name in order.steps:
        step = order.lock.steps[name]
        for platform in order.platforms:
            environment = step.environments[platform]
            found |= {wheel.sha256 for wheel in environment.all_wheels}
            found |= {source.sha256 for source in environment.sources}
            found |= {environment.archive.sha256} if environment.archive else set()
            found |= _of_root(order.lock.bases[step.base].roots[platform])
    return frozenset(found)


def _of_root(root: Root) -> set[Digest]:
    match root:
        case DebianRoot():
            return {package.sha256 for package in root.packages}
        case ImageRoot():
            return {root.manifest, root.config, *(layer.digest for layer in root.layers)}


def share(store: Store, other: Store, digests: frozenset[Digest]) -> None:
    """Let another store have those of these blobs that are in this one; no byte is copied where links can do.

    Errors: `StoreError`.
    """
    with files.os_errors(f"write to the store at {other.root}"):
        for digest in digests:
            if store.has(digest):
                _link(store.blob(digest), other.blob(digest))


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_HARD_LINK:
            raise
        shutil.copyfile(source, target)


@contextlib.contextmanager
def _fresh_stores(store: Store) -> Iterator[tuple[Store, Store]]:
    directory = store.temporary / f"check-{secrets.token_hex(8)}"
    try:
        yield Store(directory / "first"), Store(directory / "second")
    finally:
        files.remove_tree(directory)


_Key = tuple[str, Platform]
_Built = Mapping[_Key, tuple[Digest, Digest]]
"""The digests of the environment image and of the step image."""


def _build(order: Order, store: Store, number: int) -> _Built:
    home = store.root / "home"
    with files.os_errors(f"write to {home}"):
        home.mkdir(exist_ok=True)
    workers, umask = ((1, "022"), (4, "077"))[number]
    words = ["-P", "-m", "repro_env.cli.build_once", str(order.root), umask, str(workers)]
    done = process.run(
        [sys.executable, *words, ",".join(map(str, order.platforms)), *order.steps],
        timeout=_TIMEOUT,
        env=_environment(store, home, number),
        cwd=(order.root, home)[number],
        check=False,
    )
    if done.status:
        raise BuildError(f"the {('first', 'second')[number]} of two builds failed", done.stderr)
    return dict(_parsed(json.loads(done.stdout)))


def _environment(store: Store, home: Path, number: int) -> dict[str, str]:
    """Return the whole environment of one build. What git trusts stays, wherever home is."""
    first = {"LC_ALL": "C.UTF-8", "TZ": "UTC", "PYTHONHASHSEED": "0"}
    second = {
        "HOME": str(home),
        "LC_ALL": "C",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONHASHSEED": "4711",
        "PYTHONUTF8": "0",
        "SOURCE_DATE_EPOCH": "1",
        "TZ": "Pacific/Kiritimati",
        "USER": "somebody",
        "XDG_CACHE_HOME": str(home / "cache"),
    }
    own = Path.home() / ".gitconfig"
    git = {"GIT_CONFIG_GLOBAL": str(own)} if own.is_file() else {}
    package = str(Path(repro_env.__file__).parents[1])
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    return {**os.environ, **git, **(first, second)[number], "PYTHONPATH": path, "REPRO_STORE": str(store.root)}


def _parsed(images: Sequence[Mapping[str, Any]]) -> Iterator[tuple[_Key, tuple[Digest, Digest]]]:
    for one in images:
        key = (one["step"], Platform.parse(one["platform"]))
        yield key, (Digest.parse(one["environment"]), Digest.parse(one["image"]))


def _compared(order: Order, key: _Key, store: Store, stores: tuple[Store, Store], results: Sequence[_Built]) -> Twice:
    name, platform = key
    (environment, image), (other_environment, other_image) = results[0][key], results[1][key]
    between = compare_images(stores[0], environment, stores[1], other_environment)
    if between.same:
        between = compare_images(stores[0], image, stores[1], other_image)
    recorded = order.lock.steps[name].environments[platform].image
    return Twice(
        step=name,
        platform=platform,
        environment=environment,
        image=image,
        recorded=recorded,
        between=between,
        against=compare_with_recorded(stores[0], environment, store, recorded),
    )


def _mend(store: Store, fresh: Store, built: _Built, report: Reporter) -> Iterator[Digest]:
    """Replace what is damaged of these images in the store by what was made now, and yield its digests."""
    images = [read_image(fresh, image) for _environment, image in built.values()]
    layers = {layer.digest: layer for image in images for layer in image.layers}
    for digest, layer in layers.items():
        if not store.has(digest) or not fresh.has(digest):
            continue
        try:
            store.check(digest, f"the layer with {layer.comment}" if layer.comment else f"layer {digest.short}")
        except IntegrityError as error:
            store.blob(digest).unlink(missing_ok=True)
            share(fresh, store, frozenset([digest]))
            report.warn(f"{error.what}; what was made now has taken its place")
            yield digest


def refuse_differences(checked: Sequence[Twice]) -> None:
    """Raise `BuildError` for what did not come out the same, with the first difference of each part."""
    wrong = [one for one in checked if not one.same]
    if not wrong:
        return
    lines = [line for one in wrong for line in _said(one)]
    if any(not one.between.same for one in wrong):
        lines += [f"here:  {FIRST}", f"there: {SECOND}"]
        hint = "this is a fault of repro: please report it with these lines"
    else:
        hint = "run `repro build --update` to record these, if the lock's were made by an older repro"
    count = f"{len(wrong)} of {len(checked)} images" if len(checked) > 1 else f"step {wrong[0].step}"
    raise BuildError(f"{count} did not come out the same", "\n".join(lines), hint)


def _said(one: Twice) -> Iterator[str]:
    title = f"{one.step} on {one.platform}"
    if not one.between.same:
        yield f"{title}, built twice:"
        yield from (f"  {difference}" for difference in one.between.differences)
    if not one.as_recorded:
        yield f"{title}: the lock records {one.recorded}"
        yield f"{' ' * len(title)}  this build gave  {one.environment}"
        yield from (f"  {difference} in the recorded image" for difference in one.against.differences)
