"""Deliveries per second: a backlog drained by a local worker, against Huey's consumer on SQLite."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.disk import Control, temporary_folder
from bench.draining import Window, drain_huey, drain_ledger
from bench.lines import Line, at_least_times
from bench.marks import Marks
from bench.peers.huey_queue import build_queue
from bench.rounds import shuffled
from bench.scale import Scale
from bench.shop.backlog import publish_backlog
from bench.shop.event_store import Journal, new_ledger, noting

_JOURNALS: tuple[Journal, ...] = ("rollback", "wal")
_AIMS = {"rollback": 4, "wal": 10}
_HUEY_MODES = {"rollback": "persist", "wal": "wal"}  # the rollback journal that our ledger uses too
_THREADS = (1, 10)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """One side in one journal mode: threads is None for ours."""

    journal: Journal
    threads: int | None = None


def measure(scale: Scale) -> list[Line]:
    """Drain backlogs of equal size by turns: ours, and Huey with one thread and with ten."""
    window = Window(scale.size(20_000, 500), seconds=scale.size(4, 2))
    candidates = [_Candidate(journal, threads) for journal in _JOURNALS for threads in (None, *_THREADS)]
    rates: dict[_Candidate, list[float]] = {each: [] for each in candidates}
    with temporary_folder() as folder:
        control = Control(folder)
        for candidate in shuffled(candidates, scale.rounds_of(5)):
            control.sample()
            place = folder / "round"
            place.mkdir()
            rates[candidate].append(_rate(candidate, place, window))
            shutil.rmtree(place)
    medians = {each: statistics.median(found) for each, found in rates.items()}
    return [_line(journal, medians, rates, control) for journal in _JOURNALS]


def _rate(candidate: _Candidate, folder: Path, window: Window) -> float:
    marks = Marks.create(folder / "marks", window.count)
    if candidate.threads is None:
        ledger = new_ledger(folder / "ledger.sqlite3", candidate.journal)
        publish_backlog(noting(ledger), range(window.count))
        return drain_ledger(ledger, marks, window, until_closed=True)
    path, mode = folder / "huey.sqlite3", _HUEY_MODES[candidate.journal]
    _enqueue_backlog(path, mode, window.count)
    return drain_huey(path, mode, candidate.threads, marks, window)


def _enqueue_backlog(path: Path, mode: str, count: int) -> None:
    """Fill Huey's queue; without flushes, as this part is not measured."""
    queue, task = build_queue(str(path), mode, fsync=False)
    enqueue: Callable[[object], object] = task
    for place in range(count):
        enqueue({"pipeline_id": place, "ref": "main"})
    queue.storage.close()


def _line(
    journal: Journal,
    medians: dict[_Candidate, float],
    rates: dict[_Candidate, list[float]],
    control: Control,
) -> Line:
    ours = medians[_Candidate(journal)]
    peers = {threads: medians[_Candidate(journal, threads)] for threads in _THREADS}
    best = max(peers, key=lambda threads: peers[threads])
    spread = ", ".join(f"{rate:,.0f}/s with {threads}" for threads, rate in peers.items())
    return Line(
        name=f"deliveries per second, {journal} journal",
        ours=ours,
        kind="rate",
        against=f"Huey, {best} thread{'s' * (best > 1)}",
        theirs=peers[best],
        ratio=ours / peers[best],
        goals=at_least_times(2, _AIMS[journal]),
        note=f"Huey: {spread}; best rounds: ours {max(rates[_Candidate(journal)]):,.0f}/s, "
        f"Huey {max(max(rates[_Candidate(journal, threads)]) for threads in _THREADS):,.0f}/s; {control}",
        details={
            "flush": control.median,
            "rates": {str(each.threads or "ours"): rates[each] for each in rates if each.journal == journal},
        },
    )
