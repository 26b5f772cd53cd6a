"""The `repro` program's first line of its own.

Before it, Ctrl-C is answered by the interpreter, with a traceback. So nothing is imported outside of `main` that the
interpreter has not imported for itself.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> NoReturn:
    """Run the command line and exit with its status; see `docs/reference/exit-status.md`."""
    try:
        from repro_env.cli.start import run_command_line  # noqa: PLC0415 - see above

        status = run_command_line(sys.argv[1:])
    except KeyboardInterrupt as error:
        from repro_env.cli.interruption import end_interrupted  # noqa: PLC0415 - see above

        end_interrupted(error)
    except Exception as error:
        from repro_env.cli.interruption import end_interrupted, interruption_behind  # noqa: PLC0415 - see above

        interrupted = interruption_behind(error)
        if interrupted is None:
            raise
        end_interrupted(interrupted)
    sys.exit(status)
