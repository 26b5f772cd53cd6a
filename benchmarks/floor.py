"""The floor: what no builder can go below. Every wheel's bytes read and hashed, inflated with ISA-L and hashed again.

One process a core, the largest wheel first; nothing is written.
"""

from __future__ import annotations

import hashlib
import sys
import zipfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from isal import isal_zlib


def inflate_and_hash(path: Path) -> int:
    """Return how many bytes the wheel's members inflate to."""
    data = path.read_bytes()
    hashlib.sha256(data).digest()
    inflated = hashlib.sha256()
    total = 0
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
    view = memoryview(data)
    for info in infos:
        start = info.header_offset
        start += 30 + int.from_bytes(view[start + 26 : start + 28], "little")
        start += int.from_bytes(view[info.header_offset + 28 : info.header_offset + 30], "little")
        piece = view[start : start + info.compress_size]
        if info.compress_type == zipfile.ZIP_DEFLATED and info.file_size:
            content = isal_zlib.decompress(piece, wbits=-15, bufsize=info.file_size)
        else:
            content = bytes(piece)
        inflated.update(content)
        total += len(content)
    return total


def main() -> None:
    wheels = sorted(map(Path, sys.argv[1:]), key=lambda path: -path.stat().st_size)
    with ProcessPoolExecutor() as pool:
        print(sum(pool.map(inflate_and_hash, wheels)))


if __name__ == "__main__":
    main()
