"""Claims and acks on PostgreSQL, one process: the ledger's exchange against a plain SKIP LOCKED queue.

Ours is what a local worker does between two batches, in one transaction: the check of its lease, the close
of the last batch, the next claim, the look for a suspect. The plain queue leases in one transaction and
deletes in the next, as most write it; that with both in one transaction stands in the note.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any

from bench.disk import Control, temporary_folder
from bench.lines import Line, written
from bench.peers import plain_queue
from bench.postgres import Server, postgres
from bench.rounds import shuffled
from bench.scale import Scale
from bench.shop.backlog import publish_backlog
from bench.shop.event_store import noting
from bench.shop.events import SAMPLES
from whereupon import EventStore
from whereupon.deliveries import Close, Done
from whereupon.ledger import claims, rescue
from whereupon.ledger.claims import Budget, Wanted
from whereupon.ledger.rescue import Process

if TYPE_CHECKING:
    from whereupon.ledger_protocol import Transaction

_WORKER = "bench"
_EXCHANGES = {1: 150, 10: 100, 100: 40}  # in one round, for each size of a batch
_WARM_UP = 8
Exchange = Callable[[int], int]
"""Acknowledges the batch before and takes the next one, of so many; returns how many it got."""


class _Ours:
    """The exchange of `whereupon.engines.local.process`, without the handlers."""

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._ids = [identity for each in store.routes for identity in each.ids]
        self._connection = store.ledger.connect()
        self._closes: list[Close] = []
        with self._connection.transaction() as transaction:
            rescue.register(transaction, Process(_WORKER, "bench", "bench", 1, "", "bench"))

    def prepare(self, count: int) -> None:
        """Renew the lease, which a supervisor does in a process of its own, and publish a backlog."""
        self._closes = []
        with self._connection.transaction() as transaction:
            rescue.beat(transaction, [_WORKER])
            transaction.run("TRUNCATE whereupon_delivery, whereupon_event")
        publish_backlog(self._store, range(count))

    def exchange(self, most: int) -> int:
        closes, self._closes = self._closes, []
        with self._connection.transaction() as transaction:
            lease = rescue.lease(transaction, _WORKER) or 0
            if lease <= transaction.now() or claims.close(transaction, closes):
                raise TimeoutError("the lease lapsed meanwhile")
            jobs = self._claimed(transaction, most)
        self._closes = [Close(claim, Done()) for job in jobs for claim in job]
        return len(self._closes)

    def _claimed(self, transaction: Transaction, most: int) -> list[Any]:
        wanted = [Wanted(each.ids, rank=1, most=most) for each in self._store.routes]
        jobs = claims.claim(transaction, _WORKER, wanted, Budget(seconds=0, least=most, most=most))
        claims.claim_suspect(transaction, _WORKER, self._ids, alone=False)
        return jobs


class _Plain:
    """The plain queue on a connection in autocommit mode."""

    def __init__(self, connection: Any, body: str) -> None:
        self._connection = connection
        self._body = body
        self._leased: list[int] = []
        plain_queue.create(connection)

    def prepare(self, count: int) -> None:
        self._leased = []
        self._connection.execute("TRUNCATE plain_queue")
        plain_queue.fill(self._connection, self._body, count)

    def in_two(self, most: int) -> int:
        rows = plain_queue.lease(self._connection, most)
        plain_queue.ack(self._connection, [row[0] for row in rows])
        return len(rows)

    def fused(self, most: int) -> int:
        with self._connection.transaction():
            if self._leased:
                plain_queue.ack(self._connection, self._leased)
            self._leased = [row[0] for row in plain_queue.lease(self._connection, most)]
        return len(self._leased)


def measure(scale: Scale) -> list[Line]:
    """Take and acknowledge batches of three sizes by turns, from backlogs made anew for each."""
    with temporary_folder() as folder, postgres() as server:
        store = noting(server.new_ledger("application"))
        (record,) = store.records([SAMPLES[0].made()])
        control = Control(folder)
        with closing(server.connect("application")) as connection:
            ours, plain = _Ours(store), _Plain(connection, record.text.decode())
            sides: dict[str, tuple[Callable[[int], None], Exchange]] = {
                "ours": (ours.prepare, ours.exchange),
                "in two": (plain.prepare, plain.in_two),
                "fused": (plain.prepare, plain.fused),
            }
            rates: dict[tuple[str, int], list[float]] = {
                (side, size): [] for side in sides for size in _EXCHANGES
            }
            for side, size in shuffled(tuple(rates), scale.rounds_of(5)):
                control.sample(5)
                rates[side, size].append(_rate(server, *sides[side], size, scale))
    medians = {key: statistics.median(found) for key, found in rates.items()}
    return [_line(size, medians, control) for size in _EXCHANGES]


def _rate(
    server: Server, prepare: Callable[[int], None], exchange: Exchange, size: int, scale: Scale
) -> float:
    """Return deliveries per second, commits included; the first exchanges do not count."""
    exchanges = scale.size(_EXCHANGES[size], 10)
    prepare(size * (exchanges + _WARM_UP))
    server.settle("application")
    for _ in range(_WARM_UP):
        exchange(size)
    started = time.perf_counter()
    taken = sum(exchange(size) for _ in range(exchanges))
    spent = time.perf_counter() - started
    if taken != size * exchanges:
        raise AssertionError(f"{taken} were taken of {size * exchanges}")
    return taken / spent


def _line(size: int, medians: dict[tuple[str, int], float], control: Control) -> Line:
    ours, theirs = medians["ours", size], medians["in two", size]
    return Line(
        name=f"PostgreSQL, claim and close, batches of {size}",
        ours=ours,
        kind="rate",
        against="SKIP LOCKED by hand",
        theirs=theirs,
        ratio=ours / theirs,
        note=f"the plain queue with its ack in the next lease: {written(medians['fused', size], 'rate')}; "
        f"{control}",
        details={"fused": medians["fused", size], "flush": control.median},
    )
