"""What was done to whom, and when: kept beside the log, one JSON object for each hit."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Final, Literal, NamedTuple, NoReturn

Kind = Literal["KILL", "STOP"]
Role = Literal["publisher", "child", "supervisor", "tree"]
"""A tree is a supervisor with all its children."""

POINTS: Final = ("published", "committed", "started", "written", "ended")
"""Where a process may be made to kill itself: the event written and not committed, committed and not
acknowledged, a handler begun, an atomic effect written, a handler ended and its delivery not closed."""
LEASE: Final = 10.0
"""How long a worker holds its claims without a beat, in seconds: the default of the library."""


class Hit(NamedTuple):
    """One signal.

    `pids` got it; `shadow` are the children of a supervisor that got it, which are without beats from then
    on. `seconds` is how long a stopped process stays stopped. The time is monotonic.
    """

    at: float
    kind: Kind
    role: str
    pids: tuple[int, ...]
    shadow: tuple[int, ...] = ()
    seconds: float = 0.0

    @property
    def everybody(self) -> tuple[int, ...]:
        """All that were hit, themselves or through their supervisor."""
        return (*self.pids, *self.shadow)

    @property
    def breaks_claims(self) -> bool:
        """Tell whether what was in hand must be done by others: after a death, or when the lease lapses."""
        return self.kind == "KILL" or self.seconds >= LEASE


def append(folder: Path, hit: Hit) -> None:
    """Write a hit down."""
    with (folder / "hits.log").open("a", encoding="ascii") as file:
        file.write(json.dumps(hit._asdict()) + "\n")


def read(folder: Path) -> list[Hit]:
    """Return all hits in the order of their times."""
    text = (folder / "hits.log").read_text(encoding="ascii")
    found = [json.loads(line) for line in text.splitlines()]
    made = [Hit(**each | {"pids": tuple(each["pids"]), "shadow": tuple(each["shadow"])}) for each in found]
    return sorted(made)


def arm(folder: Path, point: str) -> Path:
    """Let the next process that comes to a point die there; the file is gone when one has."""
    armed = folder / f"{point}.armed"
    armed.touch()
    return armed


def come_to(folder: Path, point: str) -> None:
    """Die by SIGKILL when the point is armed. One process only gets to unlink the file."""
    try:
        (folder / f"{point}.armed").unlink()
    except FileNotFoundError:
        return
    _die(folder, point)


def _die(folder: Path, point: str) -> NoReturn:
    append(folder, Hit(time.monotonic(), "KILL", point, (os.getpid(),)))
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("a process survived SIGKILL")
