"""The control of every durable figure: what one flush of this disk costs, and where the files lie."""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.lines import written

_BLOCK = bytes(4096)
_FLUSH = "import os, sys; [os.fsync(os.open(path, os.O_RDONLY)) for path in sys.argv[1:]]"


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Make a folder and remove it at the end; TMPDIR chooses the disk."""
    with tempfile.TemporaryDirectory(prefix="whereupon-bench-", ignore_cleanup_errors=True) as name:
        yield Path(name)


def flush_times(folder: Path, samples: int) -> list[float]:
    """Append blocks of 4 KiB to a file and time each `fdatasync`, in seconds."""
    times: list[float] = []
    path = folder / "flushed"
    with path.open("ab", buffering=0) as file:
        for _ in range(samples):
            file.write(_BLOCK)
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - started)
    path.unlink()
    return times


def settle(folder: Path) -> None:
    """Flush what the preparation wrote, so that no flush of the measurement has to.

    In a process of its own: whoever closes a database file takes the locks of its own process on it away,
    SQLite's too, and the next writer would corrupt it.
    """
    paths = [str(path) for path in folder.iterdir() if path.is_file()]
    subprocess.run([sys.executable, "-S", "-c", _FLUSH, *paths], check=True)


class Control:
    """Flush times taken between the rounds of a durable row, for its note."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._times: list[float] = []

    def sample(self, count: int = 20) -> None:
        """Take a few."""
        self._times += flush_times(self._folder, count)

    @property
    def median(self) -> float:
        """The median so far, in seconds."""
        return statistics.median(self._times)

    def __str__(self) -> str:
        return f"one flush meanwhile: {written(self.median, 'seconds')}"
