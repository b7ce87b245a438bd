"""Draining a backlog with real worker processes, ours and Huey's; the rate counts, start-up does not.

Both handlers mark the time at which they begin in a shared file (`bench.marks`). The rate is taken from
the first mark to the last. Ours ends later than that: when the ledger holds no claim any more, as a
delivery is not done before its close has been committed. Huey deletes a task before it runs, so its last
mark is its end.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.disk import settle
from bench.marks import VARIABLE, Marks
from bench.peers import huey_queue, plain_queue
from bench.sessions import Session
from bench.shop import event_store
from whereupon import SQLiteLedger

if TYPE_CHECKING:
    from whereupon.ledger import PostgresLedger

_PATIENCE = 30.0  # seconds until the first event must have been handled
_LOOK = 0.002


@dataclass(frozen=True, slots=True)
class Window:
    """How much is measured: until so many are handled, or so many seconds after the first one."""

    count: int
    seconds: float


def drain_ledger(
    ledger: SQLiteLedger | PostgresLedger, marks: Marks, window: Window, *, until_closed: bool
) -> float:
    """Start a local worker with its defaults on a ledger, and return how many it handles per second."""
    environment = {VARIABLE: str(marks.path), **event_store.environment_of(ledger)}
    command = ("whereupon", "worker", "--store", event_store.NAME)
    if isinstance(ledger, SQLiteLedger):
        settle(ledger.path.parent)
    with Session(command, environment, marks.path.with_suffix(".log")) as session:
        moments = _watched(session, marks, window)
        return _rate(moments, _closed(ledger) if until_closed and len(moments) == window.count else 0)


def drain_huey(path: Path, journal: str, threads: int, marks: Marks, window: Window) -> float:
    """Start Huey's consumer on a queue file, and return how many tasks it begins per second."""
    environment = {
        VARIABLE: str(marks.path),
        huey_queue.FILE: str(path),
        huey_queue.JOURNAL: journal,
    }
    settle(path.parent)
    # --quiet leaves out two lines of log for each task, as our worker logs none
    command = ("huey.bin.huey_consumer", huey_queue.NAME, "--workers", str(threads), "--quiet")
    with Session(command, environment, marks.path.with_suffix(".log")) as session:
        return _rate(_watched(session, marks, window))


def drain_plain(url: str, size: int, marks: Marks, window: Window) -> float:
    """Start one consumer of the plain queue, and return how many it begins per second."""
    environment = {VARIABLE: str(marks.path), plain_queue.URL: url, plain_queue.SIZE: str(size)}
    with Session(("bench.peers.plain_queue",), environment, marks.path.with_suffix(".log")) as session:
        return _rate(_watched(session, marks, window))


def _watched(session: Session, marks: Marks, window: Window) -> list[int]:
    """Wait for the end of the window and return when each event was handled, in order.

    Events are handled roughly in order, so that a look at two places tells enough.
    """
    deadline = time.monotonic() + _PATIENCE
    while not (first := marks.time(0)):
        session.check()
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing was handled within {_PATIENCE:.0f} s")
        time.sleep(_LOOK)
    while time.monotonic_ns() - first < window.seconds * 1e9:
        session.check()
        if marks.time(window.count - 1) and len(moments := marks.handled()) >= window.count:
            return moments[: window.count]
        time.sleep(_LOOK)
    return marks.handled()


def _rate(moments: list[int], end: int = 0) -> float:
    """Return events per second from the first to the last, or to a later end."""
    return (len(moments) - 1) / (max(moments[-1], end) - moments[0]) * 1e9


def _closed(ledger: SQLiteLedger | PostgresLedger) -> int:
    """Wait until nothing is claimed; the look goes through an index that is empty then."""
    sql = "SELECT count(*) FROM whereupon_delivery WHERE state = 'claimed'"
    while True:
        with ledger.reading() as transaction:
            if transaction.rows(sql)[0][0] == 0:
                return time.monotonic_ns()
        time.sleep(0.001)
