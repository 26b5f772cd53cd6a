"""Reading a container format from bytes that stream past: a generator says what it wants next, and `Walk` feeds it.

head = yield Take(16)      # the next 16 bytes
yield Skip(size)           # pass over what is not looked at, whatever its size
yield BETWEEN              # here one container ended, or none has begun: pass over the zeros between two
"""

from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import dataclass, field

_ZEROS = re.compile(rb"\0*")
_MOST_KINDS = 256
"""Different architectures of one library; real ones have some twenty."""


class UnreadableError(ValueError):
    """What stands here is not the format that it has to be."""


class TooManyError(UnreadableError):
    """There is more of it than any library has: it is not worth reading on anywhere in the file."""


@dataclass(frozen=True, slots=True)
class Take:
    """Give the next `size` bytes, which are to be few: they are collected."""

    size: int


@dataclass(frozen=True, slots=True)
class Skip:
    """Pass over `size` bytes."""

    size: int


@dataclass(frozen=True, slots=True)
class Between:
    """Pass over zeros. Only here may the bytes end."""


BETWEEN = Between()

Steps = Generator[Take | Skip | Between, bytes, None]


@dataclass(slots=True)
class Found:
    """What was found so far, as `lock.gpu_code` writes it."""

    sass: set[str] = field(default_factory=set)
    ptx: set[str] = field(default_factory=set)
    amd: set[str] = field(default_factory=set)

    def add(self, other: Found) -> None:
        """Take in what another found. Errors: `TooManyError`."""
        for mine, theirs in ((self.sass, other.sass), (self.ptx, other.ptx), (self.amd, other.amd)):
            mine.update(theirs)
            if len(mine) > _MOST_KINDS:
                raise TooManyError(f"it names more than {_MOST_KINDS} architectures")


class Walk:
    """Feeds one generator. Places are counted from the first byte that was fed.

    `place` is how far it is, `end` where the last whole container ended, and `clear` where the zeros after that did.
    """

    def __init__(self, steps: Steps) -> None:
        self.place = self.end = self.clear = 0
        self._steps = steps
        self._taken = bytearray()
        self._wanted: Take | Skip | Between = BETWEEN
        self._left = 0
        self._next(None)

    def feed(self, piece: bytes) -> None:
        """Take the next bytes. Errors: `UnreadableError`."""
        at = 0
        while at < len(piece):
            if isinstance(self._wanted, Between):
                at = self._pass_zeros(piece, at)
                continue
            part = min(self._left, len(piece) - at)
            if isinstance(self._wanted, Take):
                self._taken += piece[at : at + part]
            at += part
            self.place += part
            self._left -= part
            if not self._left:
                self._step()

    def close(self) -> None:
        """Take the bytes as ended. Errors: `UnreadableError`."""
        if not isinstance(self._wanted, Between):
            raise UnreadableError("a container is cut short")

    def _pass_zeros(self, piece: bytes, at: int) -> int:
        zeros = _ZEROS.match(piece, at)
        end = zeros.end() if zeros else at
        self.place += end - at
        self.clear = self.place
        if end < len(piece):
            self._next(b"")
        return end

    def _step(self) -> None:
        """Give what was taken, and go on as long as nothing more is needed for that."""
        while not self._left and not isinstance(self._wanted, Between):
            taken = bytes(self._taken)
            self._taken.clear()
            self._next(taken)

    def _next(self, given: bytes | None) -> None:
        self._wanted = next(self._steps) if given is None else self._steps.send(given)
        if isinstance(self._wanted, Between):
            self.end = self.clear = self.place
        else:
            self._left = self._wanted.size
