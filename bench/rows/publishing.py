"""Publishing into the SQLite ledger: what 20 subscriptions cost more than one."""

from __future__ import annotations

import random
import statistics
import time

from bench.disk import Control, temporary_folder
from bench.lines import NO_GOALS, Line, at_most_times
from bench.scale import Scale
from bench.shop.event_store import Journal, fanning_out, installed, new_ledger
from bench.shop.events import SAMPLES
from whereupon import EventStore, SQLiteLedger, publish

_MANY = 20
_Times = dict[tuple[Journal, int], list[float]]


def measure(scale: Scale) -> list[Line]:
    """Publish single events, each in a transaction of its own, into small ledgers."""
    with temporary_folder() as folder:
        ledgers: dict[Journal, SQLiteLedger] = {
            journal: new_ledger(folder / f"{journal}.sqlite3", journal) for journal in ("auto", "wal")
        }
        stores = {
            (journal, count): fanning_out(ledger, count)
            for journal, ledger in ledgers.items()
            for count in (1, _MANY)
        }
        control = Control(folder)
        medians: _Times = {key: [] for key in stores}
        for _ in range(scale.rounds_of(9)):
            control.sample()
            for key, times in _round(stores, scale.size(60, 10)).items():
                medians[key].append(statistics.median(times))
            for ledger in ledgers.values():
                _empty(ledger)
        found = {key: statistics.median(each) for key, each in medians.items()}
        modes = {journal: _mode_of(ledger) for journal, ledger in ledgers.items()}
    return [_line(modes[journal], journal, found, control) for journal in ledgers]


def _round(stores: dict[tuple[Journal, int], EventStore], calls: int) -> _Times:
    """Publish with all stores by turns, in shuffled order; the first call of each is not counted."""
    event = SAMPLES[0].made()
    times: _Times = {key: [] for key in stores}
    for _ in range(calls + 1):
        for key in random.sample(list(stores), len(stores)):
            with installed(stores[key]):
                started = time.perf_counter()
                publish(event)
                times[key].append(time.perf_counter() - started)
    return {key: each[1:] for key, each in times.items()}


def _line(mode: str, journal: Journal, found: dict[tuple[Journal, int], float], control: Control) -> Line:
    many, one = found[journal, _MANY], found[journal, 1]
    is_default = journal == "auto"
    return Line(
        name=f"publish to {_MANY}, SQLite, " + (f"default journal ({mode})" if is_default else mode),
        ours=many,
        against="publish to 1",
        theirs=one,
        ratio=many / one,
        note=str(control),
        details={"flush": control.median},
        goals=at_most_times(1.6, 1.25) if is_default else NO_GOALS,
    )


def _empty(ledger: SQLiteLedger) -> None:
    with ledger.transaction() as transaction:
        transaction.run("DELETE FROM whereupon_delivery")
        transaction.run("DELETE FROM whereupon_event")


def _mode_of(ledger: SQLiteLedger) -> str:
    connection = ledger.connect()
    try:
        return str(connection.pragma("journal_mode"))
    finally:
        connection.close()
