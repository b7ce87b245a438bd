"""A ledger of one's own in a temporary file, and a clock that only moves when told."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from tests.servers import new_database
from whereupon import SQLiteLedger
from whereupon.deliveries import Close, NewDelivery
from whereupon.engines.processes import describe_process
from whereupon.envelopes import Envelope, new_id
from whereupon.ledger import claims, publish, rescue
from whereupon.store import Record

COLUMNS = (
    *("id", "event_id", "subscription", "state", "due_at", "group_id", "recheck", "attempts", "crashes"),
    *("worker", "token", "claimed_at", "overrunning", "refused_at", "outcome", "error", "history", "done_at"),
    "replays",
)


class Bench:
    """A ledger with a clock, and the few calls that tests make again and again."""

    def __init__(self, ledger: SQLiteLedger) -> None:
        self.ledger = ledger
        self.clock = 1_800_000_000_000  # milliseconds
        ledger.migrate()

    @contextlib.contextmanager
    def transaction(self):
        with self.ledger.transaction() as transaction:
            yield _Clocked(transaction, self)

    def advance(self, seconds: float) -> None:
        self.clock += round(seconds * 1000)

    def publish(self, *subscriptions: str, delay: float = 0, group: str | None = None, data=None) -> str:
        identity = new_id(self.clock * 1_000_000)
        envelope = Envelope(
            id=identity, type="ci.created", source="/ci", time=datetime.now(UTC), fingerprint="0" * 16,
            correlation_id=identity, data=data or {},
        )  # fmt: skip
        deliveries = tuple(
            NewDelivery(identity, each, timedelta(seconds=delay), group) for each in subscriptions
        )
        with self.transaction() as transaction:
            publish.write(transaction, [Record(None, envelope, envelope.to_json(), deliveries)])
            if transaction.dialect.name == "postgresql":  # which has taken the server's clock
                moved = {"id": identity, "now": self.clock}
                transaction.run(
                    "UPDATE whereupon_delivery SET due_at = due_at - published_at + :now"
                    " FROM whereupon_event AS event WHERE event.id = event_id AND event_id = :id",
                    moved,
                )
                transaction.run("UPDATE whereupon_event SET published_at = :now WHERE id = :id", moved)
        return identity

    def worker(self, pid: int = 1) -> str:
        name = uuid4().hex
        with self.transaction() as transaction:
            rescue.register(transaction, describe_process(name, pid, "local"))
        return name

    def claim(self, worker: str, *ids: str, most: int = 100, **wanted):
        with self.transaction() as transaction:
            return self.claim_in(transaction, worker, *ids, most=most, **wanted)

    def claim_in(self, transaction, worker: str, *ids: str, most: int = 100, **wanted):
        requests = [
            claims.Wanted((each,), wanted.get("rank", 1), most, wanted.get("group_size", 1)) for each in ids
        ]
        return claims.claim(transaction, worker, requests, claims.Budget(0.0, most, most))

    def claim_suspect(self, worker: str, *ids: str, alone: bool = False):
        with self.transaction() as transaction:
            return claims.claim_suspect(transaction, worker, ids, alone=alone)

    def close(self, claim, result):
        with self.transaction() as transaction:
            return self.close_in(transaction, claim, result)

    def close_in(self, transaction, claim, result):
        return claims.close(transaction, [Close(claim, result)])

    def rescue(self, worker: str, *, blame: bool = True):
        with self.transaction() as transaction:
            return rescue.rescue(transaction, worker, blame=blame)

    def row(self, delivery: int) -> dict:
        with self.transaction() as transaction:
            sql = f"SELECT {', '.join(COLUMNS)} FROM whereupon_delivery WHERE id = :id"
            (found,) = transaction.rows(sql, {"id": delivery})
            return dict(zip(COLUMNS, found, strict=True))

    def rows(self, sql: str = "SELECT id, state FROM whereupon_delivery ORDER BY id") -> list:
        with self.transaction() as transaction:
            return transaction.rows(sql)


class _Clocked:
    """A transaction whose clock is the bench's."""

    def __init__(self, transaction, bench: Bench) -> None:
        self._transaction = transaction
        self._bench = bench

    def now(self) -> int:
        return self._bench.clock

    def __getattr__(self, name: str):
        return getattr(self._transaction, name)


@pytest.fixture(params=["sqlite", "postgresql"])
def bench(request, tmp_path) -> Bench:
    if request.param == "sqlite":
        return Bench(SQLiteLedger(tmp_path / "ledger.sqlite3", own_transaction=True))
    from whereupon.ledger import PostgresLedger

    return Bench(PostgresLedger(new_database(), own_transaction=True))
