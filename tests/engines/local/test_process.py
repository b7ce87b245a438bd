"""The main loop of a worker process, in the process of the test."""

from __future__ import annotations

import contextlib
import os
import socket

import pytest

from tests.servers import new_database
from whereupon import Event, EventStore, SQLiteLedger, publish_many, subscribe
from whereupon.engines.local import process as process_module
from whereupon.engines.local.process import LocalProcess, Settings
from whereupon.engines.processes import describe_process
from whereupon.errors import LedgerBusy, LedgerUnavailable
from whereupon.ledger import PostgresLedger, rescue
from whereupon.testing import using_store


class Created(Event, name="ci.created"):
    number: int


heard: list[int] = []


def hear(event: Created) -> None:
    heard.append(event.number)


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request, tmp_path):
    if request.param == "sqlite":
        ledger = SQLiteLedger(tmp_path / "ledger.sqlite3", own_transaction=True)
    else:
        ledger = PostgresLedger(new_database(), own_transaction=True)
    ledger.migrate()
    return ledger


def test_claims_of_a_commit_that_was_not_heard_of_are_not_held_for_ever(ledger, monkeypatch):
    """The commit happens and its answer is lost: the worker must not sit on what it claimed in it."""
    heard.clear()
    monkeypatch.setattr(process_module, "_PATIENCE", 0.0)
    store = EventStore(subscriptions=[subscribe(hear, to=Created)], ledger=ledger)
    with using_store(store), contextlib.ExitStack() as stack:
        publish_many([Created(number=number) for number in range(5)])
        ours, theirs = (stack.enter_context(each) for each in socket.socketpair())
        worker = LocalProcess(store, Settings("w"), theirs)
        with ledger.transaction() as transaction:
            rescue.register(transaction, describe_process("w", os.getpid(), "local"))
        real = worker._connection.transaction

        @contextlib.contextmanager
        def unheard():
            with real() as transaction:
                yield transaction
            raise LedgerUnavailable("the answer was lost", retry_is_safe=False)

        worker._connection.transaction = unheard
        worker._exchange()
        with ledger.reading() as transaction:
            sql = "SELECT count(*) FROM whereupon_delivery WHERE state = 'claimed' AND worker = 'w'"
            assert transaction.rows(sql) == [(5,)], "the commit has happened"
        assert heard == []
        for _ in range(1000):
            worker._turn()
            with ledger.reading() as transaction:
                if transaction.rows("SELECT count(*) FROM whereupon_delivery WHERE state = 'done'") == [(5,)]:
                    break
        assert sorted(heard) == [0, 1, 2, 3, 4]
        worker._connection.close()


@pytest.mark.parametrize(
    "error", [LedgerBusy("somebody has it"), LedgerUnavailable("it is away", retry_is_safe=True)]
)
def test_a_transaction_that_surely_did_not_happen_leaves_no_doubt(ledger, monkeypatch, error):
    """Otherwise a busy lock would be asked for again and again, with nothing to claim."""
    monkeypatch.setattr(process_module, "_PATIENCE", 0.0)
    store = EventStore(subscriptions=[subscribe(hear, to=Created)], ledger=ledger)
    with using_store(store), contextlib.ExitStack() as stack:
        _, theirs = (stack.enter_context(each) for each in socket.socketpair())
        worker = LocalProcess(store, Settings("w"), theirs)

        @contextlib.contextmanager
        def failing():
            raise error
            yield

        worker._connection.transaction = failing
        worker._exchange()
        assert not worker._is_in_doubt
        worker._connection.close()
