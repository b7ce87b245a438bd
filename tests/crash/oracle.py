"""The log outside the system: what publishers and handlers say they did, one line for each step.

A line is `word subscription order pid time`, written with one `write` on a descriptor opened with O_APPEND,
so that lines of many processes never mix, and synced, so that they survive their writer. The time is
monotonic, which on one machine is the same clock for all processes.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

INTENT: Final = "intent"
"""A publisher is about to begin the business transaction of an order."""
ACK: Final = "ack"
"""The commit has returned."""
ROLLED_BACK: Final = "rolled-back"
"""The publisher has rolled the transaction back, on purpose."""
START: Final = "start"
"""A handler has begun."""
DONE: Final = "done"
"""A handler has come to its end."""
FAILED: Final = "failed"
"""A handler is about to raise, on purpose."""
WORDS: Final = frozenset({INTENT, ACK, ROLLED_BACK, START, DONE, FAILED})
NOBODY: Final = "-"
"""Stands for the subscription in the lines of publishers."""


class Line(NamedTuple):
    """One step of a publisher or a handler."""

    word: str
    subscription: str
    order: str
    pid: int
    at: float

    @property
    def delivery(self) -> tuple[str, str]:
        """The subscription and the order."""
        return self.subscription, self.order


class Log:
    """Appends lines to the log of one run."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def write(self, word: str, order: str, subscription: str = NOBODY) -> None:
        """Append one line; it is on the disk when this returns."""
        if self._descriptor is None:
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        line = f"{word} {subscription} {order} {os.getpid()} {time.monotonic():.6f}\n".encode()
        if os.write(self._descriptor, line) != len(line):
            raise OSError(f"a line of {self._path} was cut short")
        os.fsync(self._descriptor)


def read(path: Path) -> list[Line]:
    """Return all lines in the order of their times. Raises `ValueError` on a line that is not one."""
    lines = []
    whole = path.read_text(encoding="ascii").rpartition("\n")[0]
    for number, text in enumerate(whole.splitlines(), 1):
        fields = text.split(" ")
        if len(fields) != 5 or fields[0] not in WORDS:
            raise ValueError(f"{path.name}:{number} is not a line of the log: {text!r}")
        word, subscription, order, pid, at = fields
        lines.append(Line(word, subscription, order, int(pid), float(at)))
    return sorted(lines, key=lambda line: line.at)
