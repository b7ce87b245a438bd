"""What jobs of an engine name is claimed, handled and closed, whatever is raised in between."""

from __future__ import annotations

import pytest

from whereupon import Event, EventStore, SQLiteLedger, publish, subscribe, subscriber
from whereupon.engines.delivering import Deliverer
from whereupon.ledger import claims
from whereupon.testing import using_store


class Made(Event, name="test.made"):
    number: int


class TimeIsUp(Exception):
    """What an engine raises when its time limit strikes."""


handled: list[int] = []


@subscriber(name="note")
def note(event: Made) -> None:
    handled.append(event.number)


@pytest.fixture
def store(tmp_path):
    handled.clear()
    ledger = SQLiteLedger(tmp_path / "ledger.sqlite3", own_transaction=True)
    ledger.migrate()
    with using_store(EventStore(subscriptions=[subscribe(note, to=Made)], ledger=ledger)) as store:
        publish(Made(number=1))
        yield store


def state(store: EventStore) -> tuple:
    with store.ledger.reading() as transaction:
        (row,) = transaction.rows("SELECT state, attempts, crashes FROM whereupon_delivery")
    return row


def deliverer(store: EventStore) -> Deliverer:
    return Deliverer(store, "test")


def known(store: EventStore) -> dict:
    return dict(store.routes.by_id)


def test_a_delivery_is_handled_once_however_often_it_is_named(store):
    ours = deliverer(store)
    for _ in range(3):
        ours.deliver([1, 1, 2], known(store))
    assert (handled, state(store)) == ([1], ("done", 0, 0))
    ours.close()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_time_limit_that_strikes_in_the_close_leaves_nothing_held(store, monkeypatch, after):
    original, strikes = claims.close, [1]

    def close(*given):
        if strikes and not after:
            strikes.pop()
            raise TimeIsUp
        lost = original(*given)
        if strikes:
            strikes.pop()
            raise TimeIsUp
        return lost

    monkeypatch.setattr(claims, "close", close)
    ours = deliverer(store)
    with pytest.raises(TimeIsUp):
        ours.deliver([1], known(store))
    assert (handled, state(store)) == ([1], ("done", 0, 0))
    ours.close()


def test_a_time_limit_that_strikes_before_the_call_gives_it_back(store, monkeypatch):
    monkeypatch.setattr("whereupon.engines.delivering.prepare", lambda *_: (_ for _ in ()).throw(TimeIsUp))
    ours = deliverer(store)
    with pytest.raises(TimeIsUp):
        ours.deliver([1], known(store))
    assert (handled, state(store)) == ([], ("open", 0, 0))
    ours.close()


def test_a_time_limit_that_strikes_behind_the_commit_of_a_claim_gives_it_back(store, monkeypatch):
    ours = deliverer(store)
    original, strikes = ours._patiently, [1]

    def patiently(work):
        done = original(work)
        if strikes:
            strikes.pop()
            raise TimeIsUp
        return done

    monkeypatch.setattr(ours, "_patiently", patiently)
    with pytest.raises(TimeIsUp):
        ours.deliver([1], known(store))
    assert (handled, state(store)) == ([], ("open", 0, 0))
    ours.deliver([1], known(store))
    assert (handled, state(store)) == ([1], ("done", 0, 0))
    ours.close()
