"""Run inside an image, by its interpreter: build a wheel of sources (PEP 517).

    python wheel_script.py SOURCES OUTPUT

Of the standard library alone, and of any Python from 3.8 on. When the backend asks for packages that are not there,
`OUTPUT/missing.txt` names them, one a line.
"""

import importlib
import importlib.metadata
import os
import re
import sys
from typing import Any

MISSING = "missing.txt"


def main(sources: str, output: str) -> int:
    """Build and return the exit status."""
    sys.path.pop(0)  # this file's directory
    os.chdir(sources)
    backend = _backend()
    ask = getattr(backend, "get_requires_for_build_wheel", None)
    missing = [one for one in (ask() if ask else []) if not _is_there(one)]
    if missing:
        with open(os.path.join(output, MISSING), "w", encoding="utf-8") as stream:
            stream.write("\n".join(missing))
        return 1
    backend.build_wheel(output)
    return 0


def _backend() -> Any:
    name = os.environ["REPRO_BUILD_BACKEND"]
    sys.path[:0] = [os.path.abspath(path) for path in os.environ["REPRO_BUILD_PATH"].split(":") if path]
    module, _, attribute = name.partition(":")
    found: Any = importlib.import_module(module)
    for part in attribute.split(".") if attribute else []:
        found = getattr(found, part)
    return found


def _is_there(requirement: str) -> bool:
    if ";" in requirement:
        return True  # perhaps not for this interpreter, or this machine: the build will say
    try:
        importlib.metadata.distribution(re.split(r"[^A-Za-z0-9._-]", requirement.strip())[0])
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
