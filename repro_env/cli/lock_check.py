"""`repro lock --check`: whether the lock is of the project as it stands, from digests alone."""

from __future__ import annotations

from repro_env.cli.project import LOCK_FILE, fresh_lock, open_workspace


def check_lock(*, as_json: bool = False) -> str:
    """Return what to say of a fresh lock. Errors: `LockError` when it is missing or stale, `ConfigError`."""
    lock = fresh_lock(open_workspace())
    if as_json:
        import json  # noqa: PLC0415 - only when asked for

        return json.dumps({"fresh": True, "steps": sorted(lock.steps), "packages": len(lock.wheels)})
    steps = "1 step" if len(lock.steps) == 1 else f"{len(lock.steps)} steps"
    return f"{LOCK_FILE} is up to date: {steps}, {len(lock.wheels)} packages"
