"""What ELF files say of themselves to the dynamic linker, read from whole files or while their bytes stream past."""

from repro_env.image.elf.reader import MACHINES, MAGIC, Elf, MalformedElfError, read_elf
from repro_env.image.elf.stream import ElfSink

__all__ = ["MACHINES", "MAGIC", "Elf", "ElfSink", "MalformedElfError", "read_elf"]
