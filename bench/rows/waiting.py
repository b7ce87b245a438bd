"""100,000 open deliveries that nobody can take yet: do they slow the others down?"""

from __future__ import annotations

import shutil
import statistics
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.claiming import ClaimTime, claim_times
from bench.disk import Control, temporary_folder
from bench.draining import Window, drain_ledger
from bench.ledgers import Ledgers, SQLiteFiles
from bench.lines import NO_GOALS, Line, at_least_times, at_most_seconds, written
from bench.marks import Marks
from bench.rounds import percentile, shuffled
from bench.scale import Scale
from bench.shop.backlog import Change, due_tomorrow, of_unknown_code, publish_backlog
from bench.shop.event_store import noting

if TYPE_CHECKING:
    from bench.ledgers import AnyLedger


@dataclass(frozen=True, slots=True)
class _State:
    """A ledger: how many deliveries lie in it besides those that are drained, and why they do."""

    title: str
    others: int = 0
    change: Change | None = None


def measure(scale: Scale) -> list[Line]:
    """Drain ledgers and time single claims, by turns with and without the deliveries that wait."""
    with temporary_folder() as folder:
        return waiting_lines(SQLiteFiles(folder), folder, scale)


def waiting_lines(ledgers: Ledgers, folder: Path, scale: Scale) -> list[Line]:
    """Measure ledgers of one kind."""
    others = scale.size(100_000, 2_000)
    window = Window(scale.size(10_000, 500), seconds=20)
    empty = _State("empty ledger")
    states = (
        empty,
        _State(f"beside {others:,} due tomorrow", others, due_tomorrow),
        _State(f"beside {others:,} of unknown code", others, of_unknown_code),
        _State(f"beside {others:,} due now", others),
    )
    names = {state: f"state_{number}" for number, state in enumerate(states)}
    for state, name in names.items():
        _prepare(ledgers.new(name), state, window.count)
        ledgers.settle(name)
    control = Control(folder)
    rates = _rates(ledgers, names, folder, window, scale.rounds_of(3), control)
    stores = [noting(ledgers.opened(name)) for name in names.values()]
    claims = claim_times(stores, scale.size(300, 20))
    medians = {state: statistics.median(found) for state, found in rates.items()}
    lines = [
        *(_rate_line(state, medians[state], medians[empty], str(control)) for state in states[1:]),
        *(_claim_line(state, times, claims[0]) for state, times in zip(states, claims, strict=True)),
    ]
    return [replace(line, name=line.name + ledgers.title) for line in lines]


def _prepare(ledger: AnyLedger, state: _State, count: int) -> None:
    """Fill a ledger once. The events that are timed have the first places."""
    store = noting(ledger)
    if state.change is None:
        publish_backlog(store, range(count + state.others))
    else:
        publish_backlog(store, range(count, count + state.others), state.change)
        publish_backlog(store, range(count))


def _rates(
    ledgers: Ledgers,
    names: dict[_State, str],
    folder: Path,
    window: Window,
    rounds: int,
    control: Control,
) -> dict[_State, list[float]]:
    rates: dict[_State, list[float]] = {state: [] for state in names}
    for state in shuffled(tuple(names), rounds):
        place = folder / "round"
        place.mkdir()
        marks = Marks.create(place / "marks", window.count + state.others)
        with ledgers.copied(names[state], place) as ledger:
            control.sample()
            rates[state].append(drain_ledger(ledger, marks, window, until_closed=False))
        shutil.rmtree(place)
    return rates


def _rate_line(state: _State, rate: float, usual: float, note: str) -> Line:
    return Line(
        name=f"drain {state.title}",
        ours=rate,
        kind="rate",
        against="empty ledger",
        theirs=usual,
        ratio=rate / usual,
        goals=NO_GOALS if state.change is None else at_least_times(0.8, 0.95),
        note=note,
    )


def _claim_line(state: _State, times: list[ClaimTime], usual: list[ClaimTime]) -> Line:
    whole = [each.whole for each in times]
    before = [each.before_commit for each in times]
    tail, usual_tail = percentile(whole, 0.99), percentile([each.whole for each in usual], 0.99)
    is_empty = state.others == 0
    figures = {
        "p50": statistics.median(whole),
        "p50 without commit": statistics.median(before),
        "p99 without commit": percentile(before, 0.99),
        "p99 of processor time": percentile([each.processor for each in times], 0.99),
    }
    return Line(
        name=f"claim, p99, {state.title}",
        ours=tail,
        against="" if is_empty else "empty ledger",
        theirs=None if is_empty else usual_tail,
        ratio=None if is_empty else tail / usual_tail,
        goals=NO_GOALS if is_empty else at_most_seconds(0.010),
        note=f"{times[0].count} at once, "
        + ", ".join(f"{title} {written(value, 'seconds')}" for title, value in figures.items()),
        details=figures,
    )
