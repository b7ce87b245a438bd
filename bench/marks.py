"""Marks: when each handler began, written into a shared file that nobody has to lock.

The same call stands in the handlers of both sides and costs each well under a microsecond. Whoever
measures reads the file and neither the ledger nor the peer's tables, so looking on slows nobody down.
"""

from __future__ import annotations

import array
import functools
import mmap
import os
import struct
import time
from pathlib import Path

VARIABLE = "BENCH_MARKS"
"""The environment variable that names the file to the worker processes."""
_PLACE = struct.Struct("@q")


class Marks:
    """One place for each event: the monotonic time in nanoseconds, zero while it has not been handled."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("r+b") as file:
            self._area = mmap.mmap(file.fileno(), 0)

    @classmethod
    def create(cls, path: Path, count: int) -> Marks:
        """Make a file with so many places."""
        path.write_bytes(bytes(count * _PLACE.size))
        return cls(path)

    def mark(self, place: int) -> None:
        """Note that an event is being handled now."""
        _PLACE.pack_into(self._area, place * _PLACE.size, time.monotonic_ns())

    def time(self, place: int) -> int:
        """Return the time of one place; looking costs next to nothing."""
        moment: int = _PLACE.unpack_from(self._area, place * _PLACE.size)[0]
        return moment

    def times(self) -> list[int]:
        """Return all times, by place."""
        return array.array("q", self._area[:]).tolist()

    def handled(self) -> list[int]:
        """Return the times that have been noted, in order."""
        return sorted(each for each in self.times() if each)


@functools.cache
def marks() -> Marks:
    """Return the marks that the environment names, for a worker process."""
    return Marks(Path(os.environ[VARIABLE]))
