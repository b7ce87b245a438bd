"""Timing the claim itself: one transaction that takes what a worker would take, its commit included."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

from whereupon import EventStore
from whereupon.deliveries import Close, Released
from whereupon.engines.local.pace import AT_ONCE, HORIZON
from whereupon.ledger import claims
from whereupon.ledger.claims import Budget, Wanted
from whereupon.ledger_protocol import Connection

_THREADS = 10  # of a worker by default


@dataclass(frozen=True, slots=True)
class ClaimTime:
    """How long one claim took, in seconds: until the commit, and in all; and how many it took.

    `processor` is the processor time of the whole: what is left when others keep neither the processor nor
    the disk busy.
    """

    before_commit: float
    whole: float
    processor: float
    count: int


def claim_times(stores: Sequence[EventStore], rounds: int) -> list[list[ClaimTime]]:
    """Claim from each ledger by turns, in shuffled order, and give back what was claimed, untimed."""
    gc.collect()
    gc.freeze()  # a worker has none of what the other rows left behind, and need not walk it
    connections = [store.ledger.connect() for store in stores]
    try:
        times: list[list[ClaimTime]] = [[] for _ in stores]
        for _ in range(rounds):
            for index in random.sample(range(len(stores)), len(stores)):
                times[index].append(_claim_time(connections[index], stores[index]))
        return times
    finally:
        for connection in connections:
            connection.close()
        gc.unfreeze()


def _claim_time(connection: Connection, store: EventStore) -> ClaimTime:
    """Claim as a worker does that is busy with short handlers: as much as one transaction takes."""
    wanted = [Wanted(each.ids, rank=1, most=AT_ONCE) for each in store.routes]
    budget = Budget(_THREADS * HORIZON, _THREADS, AT_ONCE)
    started, processor = time.perf_counter(), time.process_time()
    with connection.transaction() as transaction:
        jobs = claims.claim(transaction, "bench", wanted, budget)
        claimed = time.perf_counter()
    ended, processor = time.perf_counter(), time.process_time() - processor
    with connection.transaction() as transaction:
        claims.close(transaction, [Close(claim, Released()) for job in jobs for claim in job])
    return ClaimTime(claimed - started, ended - started, processor, len(jobs))
