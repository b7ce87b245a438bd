"""Worker processes: each in a session of its own, so that nothing it started outlives the measurement."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

ROOT = Path(__file__).parent.parent
"""The folder from which `bench` can be imported."""
_TICKS = os.sysconf("SC_CLK_TCK")
_PARENT, _SESSION, _USER, _SYSTEM = 1, 3, 11, 12  # in /proc/PID/stat, counted behind the name


class WorkerEnded(Exception):
    """A worker process ended by itself; the text is the end of its log."""


class Session:
    """A process started with `python -m …`, and everything that it starts; killed at the end."""

    def __init__(self, module: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self._log = log
        with log.open("wb") as file:
            self._leader = subprocess.Popen(
                [sys.executable, "-m", *module],
                cwd=ROOT,
                env=os.environ | dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        members = self._members()
        self._leader.kill()
        deadline = time.monotonic() + 5
        while members and time.monotonic() < deadline:
            for pid in members:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._leader.poll()
            time.sleep(0.01)
            members = self._members()
        self._leader.wait()

    def check(self) -> None:
        """Raise `WorkerEnded` when the process is not running any more."""
        code = self._leader.poll()
        if code is not None:
            text = self._log.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise WorkerEnded(f"it ended with status {code}:\n{text}")

    def processor_seconds(self) -> float:
        """Return how much processor time the process and all it started have used."""
        spent = [_stat(pid) for pid in self._members()]
        return sum(int(each[_USER]) + int(each[_SYSTEM]) for each in spent if each) / _TICKS

    def _members(self) -> list[int]:
        """Find the processes of the session; children of a local worker are in groups of their own.

        The helper of an engine's worker is in a session of its own.
        """
        leader = str(self._leader.pid)
        found = {path.name: _stat(path.name) for path in Path("/proc").glob("[0-9]*")}
        return [
            int(pid)
            for pid, stat in found.items()
            if stat and leader in (stat[_SESSION], stat[_PARENT]) and stat[0] != "Z"
        ]


def _stat(pid: int | str) -> list[str]:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()
