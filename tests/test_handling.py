"""What a worker makes of a claim before the subscriber is called."""

import sqlite3
from datetime import timedelta

import pytest

from whereupon import Event, EventStore, RetryIn, SQLiteLedger, subscribe, subscriber
from whereupon.deliveries import Claim, Retry
from whereupon.envelopes import seal
from whereupon.handling import handle, prepare


class Created(Event, name="ci.created"):
    number: int


class Counted(Event, name="ci.counted", upcast=lambda old: {"number": int(old["no"])}):
    number: int


class CountedOnce(Event, name="ci.counted"):
    """The same fact, in the words of an older release."""

    no: str


def plain(event: Created): ...


def count(event: Counted): ...


@subscriber(timeout=timedelta(seconds=30))
def limited(event: Created): ...


@subscriber(atomic=True)
def atomic(event: Created, connection: sqlite3.Connection): ...


@subscriber(atomic=True, timeout=timedelta(seconds=30))
def atomic_and_limited(event: Created, connection: sqlite3.Connection): ...


def patient(event: Created):
    try:
        raise ConnectionError("the bank is away")
    except ConnectionError as error:
        raise RetryIn(timedelta(seconds=2)) from error


@pytest.mark.parametrize(
    ("function", "seconds"), [(plain, None), (limited, 30), (atomic, 5), (atomic_and_limited, 30)]
)
def test_a_call_has_the_limit_of_its_subscriber_and_an_atomic_one_always_has_a_limit(
    tmp_path, function, seconds
):
    store = EventStore(
        subscriptions=[subscribe(function, to=Created)], ledger=SQLiteLedger(tmp_path / "ledger.sqlite3")
    )
    (subscription,) = store.plan(Created(number=1)).subscriptions
    envelope = seal(Created(number=1), {}).to_json().decode()
    claim = Claim(1, "event", subscription.id, token=1, attempts=0, crashes=0, envelope=envelope)
    calls, closes = prepare(store, [claim])
    assert closes == []
    assert [call.time_limit for call in calls] == [None if seconds is None else timedelta(seconds=seconds)]


def test_the_payload_of_an_older_contract_goes_through_upcast(tmp_path):
    store = EventStore(
        subscriptions=[subscribe(count, to=Counted)], ledger=SQLiteLedger(tmp_path / "ledger.sqlite3")
    )
    (subscription,) = store.plan(Counted(number=1)).subscriptions
    envelope = seal(CountedOnce(no="7"), {}).to_json().decode()
    claim = Claim(1, "event", subscription.id, token=1, attempts=0, crashes=0, envelope=envelope)
    (call,), closes = prepare(store, [claim])
    assert closes == []
    assert call.first.event == Counted(number=7)


def test_what_is_kept_of_an_attempt_that_is_to_be_repeated_is_the_error_behind_it(tmp_path):
    store = EventStore(
        subscriptions=[subscribe(patient, to=Created)], ledger=SQLiteLedger(tmp_path / "ledger.sqlite3")
    )
    (subscription,) = store.plan(Created(number=1)).subscriptions
    envelope = seal(Created(number=1), {}).to_json().decode()
    claim = Claim(1, "event", subscription.id, token=1, attempts=0, crashes=0, envelope=envelope)
    (call,), _ = prepare(store, [claim])
    ((_, result),) = handle(store, call)
    assert isinstance(result, Retry)
    assert result.delay == timedelta(seconds=2)
    assert result.error.startswith("ConnectionError at ")
