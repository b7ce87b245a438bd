"""A ledger of one's own in a temporary file, and a clock that only moves when told."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from whereupon import SQLiteLedger
from whereupon.deliveries import Close, NewDelivery
from whereupon.engines.processes import describe_process
from whereupon.envelopes import Envelope, new_id
from whereupon.ledger import claims, publish, rescue
from whereupon.ledger.sqlite_connection import SQLiteTransaction
from whereupon.store import Record


class Bench:
    """A ledger with a clock, and the few calls that tests make again and again."""

    def __init__(self, ledger: SQLiteLedger) -> None:
        self.ledger = ledger
        self.clock = 1_800_000_000_000  # milliseconds
        ledger.migrate()

    @contextlib.contextmanager
    def transaction(self):
        with self.ledger.transaction() as transaction:
            clocked = _Clocked(transaction._connection)
            clocked.bench = self
            yield clocked

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
        return identity

    def worker(self, pid: int = 1) -> str:
        name = uuid4().hex
        with self.transaction() as transaction:
            rescue.register(transaction, describe_process(name, pid, "local"))
        return name

    def claim(self, worker: str, *ids: str, most: int = 100, **wanted):
        requests = [
            claims.Wanted((each,), wanted.get("rank", 1), most, wanted.get("group_size", 1)) for each in ids
        ]
        with self.transaction() as transaction:
            return claims.claim(transaction, worker, requests, claims.Budget(0.0, most, most))

    def claim_suspect(self, worker: str, *ids: str, alone: bool = False):
        with self.transaction() as transaction:
            return claims.claim_suspect(transaction, worker, ids, alone=alone)

    def close(self, claim, result):
        with self.transaction() as transaction:
            return claims.close(transaction, [Close(claim, result)])

    def rescue(self, worker: str, *, blame: bool = True):
        with self.transaction() as transaction:
            return rescue.rescue(transaction, worker, blame=blame)

    def row(self, delivery: int) -> dict:
        with self.transaction() as transaction:
            cursor = transaction._connection.execute(
                "SELECT * FROM whereupon_delivery WHERE id = ?", (delivery,)
            )
            names = [each[0] for each in cursor.description]
            return dict(zip(names, cursor.fetchone(), strict=True))

    def rows(self, sql: str = "SELECT id, state FROM whereupon_delivery ORDER BY id") -> list:
        with self.transaction() as transaction:
            return transaction.rows(sql)


class _Clocked(SQLiteTransaction):
    """A transaction whose clock is the bench's."""

    bench: Bench

    def now(self) -> int:
        return self.bench.clock


@pytest.fixture
def bench(tmp_path) -> Bench:
    return Bench(SQLiteLedger(tmp_path / "ledger.sqlite3", own_transaction=True))
