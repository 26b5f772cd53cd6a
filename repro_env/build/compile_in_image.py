"""Compiles modules; run by a step's own interpreter, 3.8 or later, so it imports nothing of this program.

python -s -S -B -W ignore -c THIS SOURCES OUTPUT    with the files' paths in the image on standard input, one a line

`SOURCES` is the directory that those paths are below; byte code goes to `OUTPUT`, in the order of the paths, each as
its size in 8 bytes and then itself; nothing (a size of 0) for a file that is no Python of this version.

What the compiler makes of a file depends, in rare bits, on what the process compiled before it: strings that are
already known change how constants are shared. So each directory is compiled by a process that has compiled nothing
else, and the same files give the same bytes on every machine.
"""

import importlib.util
import itertools
import marshal
import os
import sys

_UNCHECKED = (1).to_bytes(4, "little")
"""Valid whatever the source's time and content: hash-based, and not to be checked (PEP 552)."""


def compiled(sources: str, path: str) -> bytes:
    """Return a module's byte code as it stands in a `.pyc`, or nothing where its source cannot be compiled."""
    with open(sources + path, "rb") as stream:
        source = stream.read()
    try:
        code = compile(source, path, "exec", dont_inherit=True, optimize=0)
    except (SyntaxError, ValueError, RecursionError, OverflowError):
        return b""
    return importlib.util.MAGIC_NUMBER + _UNCHECKED + importlib.util.source_hash(source) + marshal.dumps(code)


def write_compiled(sources: str, paths: "list[str]", output: str) -> None:
    """Append the byte code of these files to a file."""
    with open(output, "ab") as stream:
        for path in paths:
            data = compiled(sources, path)
            stream.write(len(data).to_bytes(8, "little") + data)


def main(sources: str, output: str) -> int:
    """Compile every file, each directory in a process of its own, and return the exit status."""
    paths = sys.stdin.read().split("\n")[:-1]
    for _directory, group in itertools.groupby(paths, os.path.dirname):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                write_compiled(sources, list(group), output)
                status = 0
            finally:
                os._exit(status)
        if os.waitpid(child, 0)[1] != 0:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
