"""The ledger against a reference model: whatever happens, nothing is lost and nothing closed twice."""

from __future__ import annotations

import functools
import tempfile
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from tests.ledger.conftest import Bench
from tests.servers import new_database
from whereupon import SQLiteLedger
from whereupon.deliveries import CRASHES, Done, Parked, Released, Retry, Waiting
from whereupon.ledger import PostgresLedger, claims, operators, rescue, upkeep

SUBSCRIPTIONS = ("a.one:ci.created", "b.two:ci.created", "c.three:ci.created")
RETENTION = timedelta(hours=1)


@dataclass
class Row:
    """What the model knows of one delivery."""

    state: str = "open"
    attempts: int = 0
    crashes: int = 0
    due: int = 0
    token: int | None = None
    worker: str | None = None
    done_at: int | None = None
    tokens: set[int] = field(default_factory=set)


class LedgerMachine(RuleBasedStateMachine):
    workers = Bundle("workers")
    claimed = Bundle("claimed")

    def new_bench(self) -> Bench:
        memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # thousands of commits: no disk needed
        self.folder = tempfile.TemporaryDirectory(dir=memory)
        return Bench(SQLiteLedger(Path(self.folder.name) / "l.sqlite3", own_transaction=True))

    @initialize(target=workers)
    def start(self):
        self.bench = self.new_bench()
        self.rows: dict[int, Row] = {}
        self.leases: dict[str, int] = {}
        self.taken: list = []
        self.publish(set(SUBSCRIPTIONS), 0)
        return multiple(self.start_worker(), self.start_worker())

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            while self.bench.ledger._pool._idle:
                self.bench.ledger._pool._idle.pop().close()
            self.folder.cleanup()

    @rule(subscriptions=st.sets(st.sampled_from(SUBSCRIPTIONS), min_size=1), delay=st.sampled_from([0, 0, 5]))
    def publish(self, subscriptions, delay) -> None:
        before = {row[0] for row in self.bench.rows()}
        self.bench.publish(*sorted(subscriptions), delay=delay)
        new = {row[0] for row in self.bench.rows()} - before
        assert len(new) == len(subscriptions)
        for delivery in new:
            self.rows[delivery] = Row(due=self.bench.clock + delay * 1000)

    @rule(target=workers)
    def start_worker(self):
        worker = self.bench.worker()
        self.leases[worker] = self.bench.clock + rescue.LEASE
        return worker

    @rule(target=claimed, worker=workers, most=st.integers(1, 4))
    def claim(self, worker, most):
        if self.leases.get(worker, 0) <= self.bench.clock:
            return multiple()
        jobs = self.bench.claim(worker, *SUBSCRIPTIONS, most=most)
        due = [row for row in self.rows.values() if self._claimable(row) and row.crashes == 0]
        assert len(jobs) == min(most, len(due))
        return self._take(worker, [claim for job in jobs for claim in job])

    @rule(target=claimed, worker=workers, alone=st.booleans())
    def claim_suspect(self, worker, alone):
        if self.leases.get(worker, 0) <= self.bench.clock:
            return multiple()
        found = self.bench.claim_suspect(worker, *SUBSCRIPTIONS, alone=alone)
        low, high = (claims.ALONE_FROM, CRASHES) if alone else (1, claims.ALONE_FROM)
        suspects = [row for row in self.rows.values() if row.state == "open" and low <= row.crashes < high]
        first = min((row.due for row in suspects), default=None)
        assert bool(found) == (first is not None and first <= self.bench.clock)
        return self._take(worker, found)

    def _take(self, worker, taken):
        for claim in taken:
            row = self.rows[claim.delivery]
            assert self._claimable(row), "only what is open and due is claimed"
            assert (claim.attempts, claim.crashes) == (row.attempts, row.crashes)
            assert claim.token not in row.tokens
            row.state, row.worker, row.token = "claimed", worker, claim.token
            row.tokens.add(claim.token)
        self.taken += taken
        return multiple(*taken)

    def _claimable(self, row: Row) -> bool:
        return row.state == "open" and row.due <= self.bench.clock

    def _holds(self, claim) -> bool:
        row = self.rows.get(claim.delivery)
        return row is not None and row.state == "claimed" and row.token == claim.token

    @rule(
        claim=st.one_of(consumes(claimed), claimed),
        result=st.sampled_from(
            [
                Done(),
                Done("ignored"),
                Retry(timedelta(seconds=7), "e"),
                Retry(timedelta(0), "e", spends=False),
                Waiting(timedelta(seconds=3), "e"),
                Parked("attempts", "e"),
                Parked("subscriber", "e"),
                Parked("refused", "e", spends=False),
                Released(),
            ]
        ),  # fmt: skip
    )
    def close(self, claim, result) -> None:
        """Close with a token that may be current or stale: exactly the current one takes effect."""
        held = self._holds(claim)
        lost = self.bench.close(claim, result)
        if not held:
            row = self.rows.get(claim.delivery)
            repeated = row is not None and row.token == claim.token and row.state != "claimed"
            assert bool(lost) or repeated, "a stale close is reported"
            return
        assert not lost
        row = self.rows[claim.delivery]
        row.worker = None
        if isinstance(result, Done):
            row.state, row.done_at = "done", self.bench.clock
        elif isinstance(result, Released):
            row.state = "open"
        else:
            row.state = "parked" if isinstance(result, Parked) else "open"
            row.attempts += int(not isinstance(result, Waiting) and result.spends)
            delay = timedelta(0) if isinstance(result, Parked) else result.delay
            row.due = self.bench.clock + round(delay.total_seconds() * 1000)

    def _stale(self) -> list:
        """Return old claims on deliveries that somebody else has in hand now."""
        claimed = {key: row.token for key, row in self.rows.items() if row.state == "claimed"}
        return [each for each in self.taken if claimed.get(each.delivery, each.token) != each.token]

    @precondition(lambda self: self._stale())
    @rule(
        data=st.data(),
        result=st.sampled_from([Done(), Retry(timedelta(0), "e"), Parked("attempts", "e"), Released()]),
    )
    def close_what_somebody_else_holds(self, data, result) -> None:
        claim = data.draw(st.sampled_from(self._stale()))
        assert len(self.bench.close(claim, result)) == 1, "a woken worker closes nothing, and is told"

    @rule(worker=consumes(workers))
    def crash(self, worker) -> None:
        self._rescue(worker, blame=True)

    @rule(worker=consumes(workers))
    def end_on_purpose(self, worker) -> None:
        self._rescue(worker, blame=False)

    def _rescue(self, worker, *, blame: bool) -> None:
        held = {key: row for key, row in self.rows.items() if row.state == "claimed" and row.worker == worker}
        suspects = {key for key, row in held.items() if row.crashes > 0}
        blamed = (suspects or set(held)) if blame else set()
        rescued = self.bench.rescue(worker, blame=blame)
        assert rescued.returned == len(held)
        for key, row in held.items():
            row.crashes += int(key in blamed)
            row.state = "parked" if key in blamed and row.crashes >= CRASHES else "open"
            row.token = row.worker = None
            row.due = self.bench.clock
        self.leases.pop(worker, None)

    @rule(seconds=st.sampled_from([1, 4, 11]))
    def advance(self, seconds) -> None:
        self.bench.advance(seconds)

    @rule(worker=workers)
    def beat(self, worker) -> None:
        with self.bench.transaction() as transaction:
            known = rescue.beat(transaction, [worker])
        assert (worker in known) == (worker in self.leases)
        if worker in self.leases:
            self.leases[worker] = self.bench.clock + rescue.LEASE

    @rule()
    def sweep(self) -> None:
        with self.bench.transaction() as transaction:
            lapsed = rescue.lapsed(transaction)
        assert set(lapsed) == {worker for worker, until in self.leases.items() if until <= self.bench.clock}
        for worker in lapsed:
            self._rescue(worker, blame=True)

    @rule(worker=workers)
    def a_lease_is_what_the_last_beat_made_it(self, worker) -> None:
        with self.bench.transaction() as transaction:
            assert rescue.lease(transaction, worker) == self.leases.get(worker)

    @precondition(lambda self: any(row.state == "parked" for row in self.rows.values()))
    @rule(discard=st.booleans())
    def operate(self, discard) -> None:
        chosen = [key for key, row in self.rows.items() if row.state == "parked"][:2]
        with self.bench.transaction() as transaction:
            change = operators.discard_parked if discard else operators.retry_parked
            assert change(transaction, chosen) == len(chosen)
        for key in chosen:
            row = self.rows[key]
            row.token = None if not discard else row.token
            if discard:
                row.state, row.done_at = "done", self.bench.clock
            else:
                row.state, row.attempts, row.crashes, row.due = "open", 0, 0, self.bench.clock

    @rule(hours=st.sampled_from([0, 2]))
    def purge(self, hours) -> None:
        self.bench.advance(hours * 3600)
        cutoff = self.bench.clock - round(RETENTION.total_seconds() * 1000)
        with self.bench.transaction() as transaction:
            upkeep.purge(transaction, RETENTION)
        for key, row in list(self.rows.items()):
            if row.state == "done" and row.done_at is not None and row.done_at < cutoff:
                del self.rows[key]

    @invariant()
    def the_ledger_is_what_the_model_says(self) -> None:
        if not hasattr(self, "rows"):
            return
        found = {
            row[0]: row[1:]
            for row in self.bench.rows(
                "SELECT id, state, attempts, crashes, due_at, worker FROM whereupon_delivery"
            )
        }
        assert found.keys() == self.rows.keys(), "no delivery appears or vanishes by itself"
        for key, row in self.rows.items():
            due = found[key][3] if row.state == "done" else row.due
            assert found[key] == (row.state, row.attempts, row.crashes, due, row.worker)


LedgerMachine.TestCase.settings = settings(
    max_examples=300, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
TestLedger = LedgerMachine.TestCase


@functools.cache
def postgres() -> Bench:
    return Bench(PostgresLedger(new_database(), own_transaction=True))


class PostgresMachine(LedgerMachine):
    """The same against PostgreSQL, in one database that each example empties."""

    def new_bench(self) -> Bench:
        bench = postgres()
        with bench.transaction() as transaction:
            transaction.run("TRUNCATE whereupon_event, whereupon_delivery, whereupon_worker RESTART IDENTITY")
        return bench

    def teardown(self) -> None:
        """Keep the database for the next example."""


PostgresMachine.TestCase.settings = settings(LedgerMachine.TestCase.settings, max_examples=40)
TestPostgres = PostgresMachine.TestCase
