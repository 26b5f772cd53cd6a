"""Run one command in a tiny image: `python run_tiny.py RUNTIME DIRECTORY [--network] [--log] -- COMMAND...`.

A program of its own, so that tests can signal it, kill it, read its streams while it runs, or run it as another user.
"""

from __future__ import annotations

import secrets
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

import tiny  # noqa: E402 - needs the path above

from repro_env.edges.report import Silent  # noqa: E402 - same
from repro_env.errors import ReproError  # noqa: E402 - same
from repro_env.image.store import Store  # noqa: E402 - same
from repro_env.run.runtimes.choose import choose, runtimes_of  # noqa: E402 - same


def main() -> int:
    split = sys.argv.index("--")
    name, place, *flags = sys.argv[1:split]
    root = Path(place)
    store = Store(root / "store")
    runtime = choose(runtimes_of(store, Silent()), asked=name)
    run = root / "run"
    (run / "output").mkdir(parents=True, exist_ok=True)
    (root / "code").mkdir(exist_ok=True)
    plan = tiny.tiny_plan(
        tiny.tiny_step(*sys.argv[split + 1 :], network="--network" in flags),
        root,
        image=tiny.tiny_image(store),
        run=f"test-{secrets.token_hex(4)}",
        roots=runtime.roots(code=root / "code", run=run),
    )
    (root / "container").write_text(plan.container)
    return runtime.run(plan, log=run / "output.log" if "--log" in flags else None).status


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ReproError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exec_status)
