"""The queue of the Huey consumer: `bench.peers.huey_queue.queue`, on the file that the environment names.

Huey keeps what it is by default, but for the settings that make both sides promise the same: each commit is
flushed to the disk (`fsync=True`), in the same journal mode. Results are off, as nobody asks for them.
"""

from __future__ import annotations

import os
from typing import Any

from bench.marks import marks
from bench.peers import import_peer

NAME = "bench.peers.huey_queue.queue"
FILE = "BENCH_HUEY"
JOURNAL = "BENCH_JOURNAL"


def note(payload: dict[str, Any]) -> None:
    """Mark the place that the payload names."""
    marks().mark(payload["pipeline_id"])


def build_queue(path: str, journal: str, *, fsync: bool) -> Any:
    """Return the queue and its one task."""
    queue = import_peer("huey").SqliteHuey(filename=path, journal_mode=journal, fsync=fsync, results=False)
    return queue, queue.task()(note)


def __getattr__(name: str) -> object:
    """Build `queue` when the consumer asks for it, and not when the bench imports this module."""
    if name != "queue":
        raise AttributeError(name)
    return build_queue(os.environ[FILE], os.environ[JOURNAL], fsync=True)[0]
