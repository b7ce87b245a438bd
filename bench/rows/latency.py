"""From publish to the start of the handler, with an idle worker; and what an idle worker costs."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.disk import Control, temporary_folder
from bench.lines import NO_GOALS, Goals, Line, at_most_seconds
from bench.marks import VARIABLE, Marks
from bench.rounds import percentile
from bench.scale import Scale
from bench.sessions import Session
from bench.shop import event_store
from bench.shop.event_store import Journal, installed, new_ledger, noting
from bench.shop.events import PipelineCreated
from whereupon import SQLiteLedger, publish

if TYPE_CHECKING:
    from whereupon.ledger import PostgresLedger

PAUSE = (0.020, 0.120)
"""Seconds between two events, at random: never in step with the worker's looks."""
_PATIENCE = 30.0
GOALS = (at_most_seconds(0.020, 0.005), at_most_seconds(0.100))
NO_GOALS_OF_BOTH = (NO_GOALS, NO_GOALS)


def measure(scale: Scale) -> list[Line]:
    """Publish at irregular intervals into the ledger of an idle worker."""
    lines: list[Line] = []
    journals: dict[Journal, str] = {"auto": "default journal", "wal": "wal"}
    with temporary_folder() as folder:
        for journal, title in journals.items():
            place = folder / journal
            place.mkdir()
            ledger = new_ledger(place / "ledger.sqlite3", journal)
            goals = GOALS if journal == "auto" else NO_GOALS_OF_BOTH
            lines += latency_lines(ledger, title, place, scale.size(200, 20), scale, goals)
    return lines


def latency_lines(
    ledger: SQLiteLedger | PostgresLedger,
    title: str,
    folder: Path,
    count: int,
    scale: Scale,
    goals: tuple[Goals, Goals],
    pause: tuple[float, float] = PAUSE,
    command: Sequence[str] = ("whereupon", "worker", "--store", event_store.NAME),
) -> list[Line]:
    """Publish so many events into one ledger, one at a time; the goals are those of the p50 and the p99."""
    control = Control(folder)
    marks = Marks.create(folder / "marks", count + 1)
    environment = {VARIABLE: str(marks.path), **event_store.environment_of(ledger)}
    with Session(command, environment, folder / "log") as worker, installed(noting(ledger)):
        begun = [_published(place, marks, worker, control, pause) for place in range(count + 1)]
        share = _idle_share(worker, float(scale.size(5, 1)))
    behind = [(marks.time(place) - begun[place][0]) / 1e9 for place in range(1, count + 1)]
    committed = [(marks.time(place) - begun[place][1]) / 1e9 for place in range(1, count + 1)]
    return _lines(title, goals, (behind, committed), share, control)


def _published(
    place: int, marks: Marks, worker: Session, control: Control, pause: tuple[float, float]
) -> tuple[int, int]:
    """Publish one event, wait until its handler begins, then pause; return when publish began and ended.

    The first event is for the worker to get ready, and does not count.
    """
    event = PipelineCreated(pipeline_id=place, ref="main")
    began = time.monotonic_ns()
    publish(event)
    ended = time.monotonic_ns()
    time.sleep(random.uniform(*pause))
    while not marks.time(place):
        worker.check()
        if time.monotonic_ns() - began > _PATIENCE * 1e9:
            raise TimeoutError(f"an event was not handled within {_PATIENCE:.0f} s")
        time.sleep(0.01)
    control.sample(1)
    return began, ended


def _idle_share(worker: Session, seconds: float) -> float:
    """Return which share of one processor an idle worker and its parent use."""
    time.sleep(0.5)
    before, started = worker.processor_seconds(), time.monotonic()
    time.sleep(seconds)
    return (worker.processor_seconds() - before) / (time.monotonic() - started)


def _lines(
    title: str,
    goals: tuple[Goals, Goals],
    times: tuple[list[float], list[float]],
    share: float,
    control: Control,
) -> list[Line]:
    behind, committed = times
    middle, tail = statistics.median(behind), percentile(behind, 0.99)
    after = statistics.median(committed)
    return [
        Line(
            name=f"publish → handler start, p50, {title}",
            ours=middle,
            goals=goals[0],
            note=f"from the call of publish; {after * 1e3:.2f} ms from its return; {control}",
            details={"flush": control.median, "behind": behind, "committed": committed},
        ),
        Line(
            name=f"publish → handler start, p99, {title}",
            ours=tail,
            goals=goals[1],
        ),
        Line(name=f"idle worker, share of one core, {title}", ours=share, kind="share"),
    ]
