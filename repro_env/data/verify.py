"""Whether data is what the lock pins, and if not, what differs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from repro_env.data import manifest
from repro_env.data.inputs import LOCAL
from repro_env.data.measure import Measured
from repro_env.data.tree import listed
from repro_env.errors import VerificationError
from repro_env.frozen import dataclass
from repro_env.lock.model import LockedData
from repro_env.values import Digest, format_size


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFinding:
    """One data input compared with its pin.

    `pin` names what pins it in the lock, `pulled` says that it can be had again from where it came from. `differences`
    has a line a file where the pinned manifest is still kept.
    """

    name: str
    path: str
    ok: bool
    expected: str
    found: str
    pin: str = "sha256"
    pulled: bool = False
    differences: tuple[str, ...] = ()

    def __str__(self) -> str:
        weak = f" (pinned by its {self.pin}, which is no hash of its content)" if self.pin != "sha256" else ""
        if self.ok:
            return f"data {self.name} ({self.path}) is what the lock pins: {self.found}{weak}"
        lines = [f"data {self.name} ({self.path}){weak}", f"  needed {self.expected}", f"  found  {self.found}"]
        return "\n".join([*lines, *(f"  {line}" for line in listed(self.differences).splitlines())])


def compare(
    locked: LockedData, measured: Measured, *, manifests: Path | None = None, root: Path | None = None
) -> DataFinding:
    """Compare what was measured with its pin.

    `manifests` is where `keep_manifest` keeps them; `root` is the project, to look for Git LFS pointers in.
    """
    ok = measured.digest == locked.digest and measured.kind == locked.kind
    return DataFinding(
        name=locked.name,
        path=locked.path,
        ok=ok,
        pin=locked.pin,
        pulled=locked.source not in LOCAL,
        expected=_words(locked.kind, locked.digest, locked.files, locked.size),
        found=_words(measured.kind, measured.digest, measured.files, measured.size),
        differences=()
        if ok
        else (*_differences(locked.digest, measured, manifests), *_pointers(locked, measured, root)),
    )


def incomparable(locked: LockedData, found: str, lines: Sequence[str] = ()) -> DataFinding:
    """Return the finding for data that is not there, or cannot be compared with its pin, and why."""
    return DataFinding(
        name=locked.name,
        path=locked.path,
        ok=False,
        pin=locked.pin,
        pulled=locked.source not in LOCAL,
        expected=_words(locked.kind, locked.digest, locked.files, locked.size),
        found=found,
        differences=tuple(lines),
    )


def demand(findings: Sequence[DataFinding], failures: Sequence[VerificationError] = ()) -> None:
    """Errors: one `VerificationError` with every finding that is not ok, and all that failed before it was compared."""
    wrong = [finding for finding in findings if not finding.ok]
    errors = [*([_not_as_locked(wrong)] if wrong else []), *failures]
    if len(errors) == 1:
        raise errors[0]
    if errors:
        whys = [line for error in errors for line in (error.what, *(f"  {why}" for why in error.why.splitlines()))]
        hints = dict.fromkeys(error.hint for error in errors if error.hint)
        count = len(wrong) + len(failures)
        raise VerificationError(f"{count} inputs are not what they should be", "\n".join(whys), "; ".join(hints))


def _not_as_locked(wrong: Sequence[DataFinding]) -> VerificationError:
    count = "1 data input is" if len(wrong) == 1 else f"{len(wrong)} data inputs are"
    elsewhere = [finding.name for finding in wrong if finding.pulled]
    hint = "restore the data, or run `repro lock` to pin what is there now"
    if elsewhere:
        own = "restore the project's own data, and " if len(elsewhere) < len(wrong) else ""
        hint = f"{own}run `repro data pull {' '.join(elsewhere)}`"
    return VerificationError(f"{count} not what the lock pins", "\n".join(map(str, wrong)), hint)


def _words(kind: str, digest: Digest, files: int, size: int) -> str:
    count = "" if kind == "file" else " of 1 file" if files == 1 else f" of {files:,} files"
    return f"{kind}{count}, {format_size(size)}, sha256:{digest.short}"


def _pointers(locked: LockedData, measured: Measured, root: Path | None) -> tuple[str, ...]:
    """Return a line on files of which only the Git LFS pointer is checked out."""
    if root is None:
        return ()
    from repro_env.data.lfs import pointers_in  # noqa: PLC0415 - only where something differs

    count = len(pointers_in(root / locked.path, measured.tree))
    files = "1 file is" if count == 1 else f"{count} files are"
    hint = f"run `repro data pull {locked.name}` or `git lfs pull`"
    return (f"{files} checked out as a Git LFS pointer only: {hint}",) if count else ()


def _differences(pinned: Digest, measured: Measured, manifests: Path | None) -> tuple[str, ...]:
    """Return what differs file by file, as far as the pinned manifest is kept and undamaged."""
    if manifests is None:
        return ()
    try:
        text = (manifests / pinned.hex).read_bytes()
    except OSError:
        return ()
    if measured.kind != "directory" or Digest.of(text) != pinned:
        return ()
    return tuple(manifest.differences(manifest.parse(text), manifest.parse(measured.manifest())))
