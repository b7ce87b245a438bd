"""Deliveries per second in an engine's worker, tracked on PostgreSQL, against the engine's own bare jobs.

Both backlogs are complete before the worker starts: the bare jobs in the broker, ours in the ledger, from
where the helper relays. The same worker command runs both, and each handler does nothing but say when it
began. The rate is that of the middle: from the tenth part of the backlog to the ninth.
"""

from __future__ import annotations

import shutil
import statistics
import time
from pathlib import Path
from typing import NamedTuple

from bench.disk import Control, temporary_folder
from bench.engines import BROKER, ENGINES, Measured
from bench.lines import NO_GOALS, Goals, Line, at_least_times
from bench.marks import VARIABLE, Marks
from bench.postgres import Server, postgres
from bench.rounds import shuffled
from bench.scale import Scale
from bench.sessions import Session
from bench.shop.backlog import publish_backlog
from bench.shop.event_store import environment_of, noting

_GOALS = at_least_times(0.5, 0.8)
_PATIENCE = 120.0  # seconds for one backlog
_SIDES = ("ours", "bare")


class _Rate(NamedTuple):
    """Jobs per second, and the processor time that one took of the worker with all its processes."""

    jobs: float
    processor: float


def measure(engine: str, scale: Scale) -> list[Line]:
    """Drain backlogs of equal size by turns, each with a new worker on an empty broker."""
    measured = ENGINES[engine]
    count = scale.size(measured.jobs, 300)
    rates: dict[str, list[_Rate]] = {side: [] for side in _SIDES}
    with temporary_folder() as folder, postgres() as server:
        control = Control(folder)
        for side in shuffled(_SIDES, scale.rounds_of(5)):
            control.sample()
            place = folder / "round"
            place.mkdir()
            with measured.broker() as broker:
                rates[side].append(_rate(measured, side, broker, server, place, count))
            shutil.rmtree(place)
    return [_line(measured, rates, control, _GOALS if engine == "celery" else NO_GOALS)]


def _rate(measured: Measured, side: str, broker: str, server: Server, place: Path, count: int) -> _Rate:
    marks = Marks.create(place / "marks", count)
    environment = {VARIABLE: str(marks.path), BROKER: broker}
    if side == "bare":
        _, send = measured.sending(broker)
        for number in range(count):
            send(number)
        return _drained(measured, environment, marks, count)
    ledger = server.new_ledger("backlog")
    publish_backlog(noting(ledger), range(count))
    server.settle("backlog")
    rate = _drained(measured, environment | environment_of(ledger), marks, count)
    server.drop("backlog")
    return rate


def _drained(measured: Measured, environment: dict[str, str], marks: Marks, count: int) -> _Rate:
    first, last = count // 10, count * 9 // 10
    with Session(measured.worker, environment, marks.path.with_suffix(".log")) as worker:
        _until(worker, marks, first)
        spent, begun = worker.processor_seconds(), len(marks.handled())
        _until(worker, marks, last)
        spent, ended = worker.processor_seconds() - spent, len(marks.handled())
        moments = _until(worker, marks, count)
    seconds = (moments[last] - moments[first]) / 1e9
    return _Rate((last - first) / seconds, spent / max(1, ended - begun))


def _until(worker: Session, marks: Marks, count: int) -> list[int]:
    """Wait until so many have been handled and return when, in order."""
    deadline = time.monotonic() + _PATIENCE
    while len(moments := marks.handled()) < count:
        worker.check()
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(moments)} of {count} were handled within {_PATIENCE:.0f} s")
        time.sleep(0.02)
    return moments


def _line(measured: Measured, rates: dict[str, list[_Rate]], control: Control, goals: Goals) -> Line:
    ours, bare = (statistics.median(each.jobs for each in rates[side]) for side in _SIDES)
    costs = [statistics.median(each.processor for each in rates[side]) * 1e3 for side in _SIDES]
    return Line(
        name=f"handling per second in a worker of {measured.title}",
        ours=ours,
        kind="rate",
        against="its bare no-op job",
        theirs=bare,
        ratio=ours / bare,
        goals=goals,
        note=f"a job takes {costs[0]:.2f} ms of the worker's processor time, bare {costs[1]:.2f} ms,"
        f" without the servers'; {control}",
        details={side: [each._asdict() for each in rates[side]] for side in _SIDES},
    )
