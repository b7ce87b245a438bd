"""publish() and its companions: groups and their spread, the store of the process, what is joined."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.doubles import RecordingLedger
from whereupon import (
    Envelope,
    Event,
    EventStore,
    apublish,
    apublish_many,
    publish,
    publish_many,
    subscribe,
)
from whereupon.errors import InvalidEvent, NoStore, StoreConflict
from whereupon.publishing import current_store, joined
from whereupon.store import SPREAD_GROUPS, installed, swap


class Created(Event, name="ci.created"):
    number: int = 0


class Finished(Event, name="ci.finished"):
    pass


class Full(Exception):
    """The ledger has no room."""


def first(event): ...
def second(event): ...
def is_even(event):
    return event.number % 2 == 0


def store_of(*subscriptions, **options):
    return EventStore(subscriptions=subscriptions, ledger=RecordingLedger(), **options)


@pytest.fixture(autouse=True)
def no_store():
    previous = swap(None)
    yield
    swap(previous)


# ---- groups


def groups_of(store, events):
    """Return the numbers of the events in each group of `first`, with the delay of the group."""
    groups = {}
    for record in store.records(events):
        for delivery in record.deliveries:
            if delivery.subscription == "tests.first:ci.created":
                groups.setdefault((delivery.group, delivery.delay), []).append(record.event.number)
    return groups


@given(st.integers(2, 60), st.integers(2, 12), st.booleans())
def test_events_are_cut_into_groups_in_their_order_behind_the_condition(count, size, conditional):
    """Conformance 49."""
    when = is_even if conditional else None
    store = store_of(subscribe(first, to=Created, group_size=size, when=when), subscribe(second, to=Finished))
    events = [Created(number=number) for number in range(count)]
    wanted = [number for number in range(count) if not conditional or number % 2 == 0]
    assert list(groups_of(store, events).values()) == [
        wanted[start : start + size] for start in range(0, len(wanted), size)
    ]
    assert None not in {group for group, _ in groups_of(store, events)}


def test_events_of_other_kinds_do_not_count_in_a_group():
    store = store_of(subscribe(first, to=[Created, Finished], group_size=2))
    records = store.records([Created(number=1), Finished(), Created(number=2), Finished(), Created(number=3)])
    groups = [record.deliveries[0].group for record in records]
    assert groups[0] == groups[2] != groups[4]
    assert groups[1] == groups[3] not in (groups[0], groups[4])


def test_each_subscription_has_groups_of_its_own_size():
    store = store_of(subscribe(first, to=Created, group_size=2), subscribe(second, to=Created, group_size=3))
    records = store.records([Created(number=number) for number in range(6)])
    by_subscription = [[record.deliveries[position].group for record in records] for position in (0, 1)]
    assert [len(set(groups)) for groups in by_subscription] == [3, 2]
    assert not set(by_subscription[0]) & set(by_subscription[1])


def test_without_a_group_size_and_for_a_single_event_there_is_no_group():
    """Conformance 50."""
    alone = store_of(subscribe(first, to=Created))
    grouped = store_of(subscribe(first, to=Created, group_size=25))
    assert set(groups_of(alone, [Created(), Created()])) == {(None, timedelta(0))}
    assert set(groups_of(grouped, [Created()])) == {(None, timedelta(0))}


def test_two_publishes_do_not_share_a_group():
    store = store_of(subscribe(first, to=Created, group_size=25))
    events = [Created(), Created()]
    assert not groups_of(store, events).keys() & groups_of(store, events).keys()


@pytest.mark.parametrize("delay", [timedelta(0), timedelta(minutes=1)])
@pytest.mark.parametrize(
    ("groups", "spread", "delays"),
    [
        (100, 10, {0: 100}),
        (101, 10, {0: 100, 10: 1}),
        (250, 10, {0: 100, 10: 100, 20: 50}),
        (250, 3, {0: 100, 3: 100, 6: 50}),
        (250, 0, {0: 250}),
    ],
)
def test_more_than_a_hundred_groups_are_spread_batch_by_batch(groups, spread, delays, delay):
    """Conformance 51-53."""
    store = store_of(
        subscribe(first, to=Created, group_size=2, delay=delay), spread=timedelta(seconds=spread)
    )
    found = groups_of(store, [Created(number=number) for number in range(groups * 2)])
    counted = {}
    for _, due in found:
        seconds = (due - delay).total_seconds()
        counted[seconds] = counted.get(seconds, 0) + 1
    assert counted == delays
    assert SPREAD_GROUPS == 100
    assert [due for _, due in found] == sorted(due for _, due in found)


def test_a_condition_may_be_something_that_has_no_hash():
    class Condition:
        __hash__ = None

        def __call__(self, event):
            return True

    store = store_of(subscribe(first, to=Created, group_size=2, when=Condition()))
    assert list(groups_of(store, [Created(number=1), Created(number=2)]).values()) == [[1, 2]]


# ---- publish


def test_publishing_writes_the_event_and_returns_its_envelope():
    store = store_of(subscribe(first, to=Created))
    store.install()
    envelope = publish(Created(number=7))
    (([record], on),) = store.ledger.written
    assert isinstance(envelope, Envelope)
    assert envelope is record.envelope
    assert record.event == Created(number=7)
    assert on is None


def test_several_events_of_several_kinds_are_written_in_one_go():
    store = store_of(subscribe(first, to=Created), subscribe(second, to=Finished))
    store.install()
    envelopes = publish_many(event for event in (Created(number=1), Finished(), Created(number=2)))
    ((records, _),) = store.ledger.written
    assert [each.type for each in envelopes] == ["ci.created", "ci.finished", "ci.created"]
    assert [record.envelope for record in records] == envelopes
    assert len({each.id for each in envelopes}) == 3


def test_an_event_that_nobody_hears_is_written_without_deliveries():
    store = store_of()
    store.install()
    publish(Created())
    (([record], _),) = store.ledger.written
    assert record.deliveries == ()


def test_no_events_write_nothing():
    """Conformance 48."""
    store = store_of()
    store.install()
    assert publish_many([]) == []
    assert store.ledger.written == []


def test_a_wrong_one_among_several_publishes_none():
    """Conformance 47."""
    store = store_of()
    store.install()
    with pytest.raises(InvalidEvent, match="is not an event"):
        publish_many([Created(), None])
    assert store.ledger.written == []


def test_on_is_the_transaction_to_join_and_goes_before_that_of_an_atomic_subscriber():
    store = store_of()
    store.install()
    token = joined.set("of the subscriber")
    try:
        publish(Created())
        publish(Created(), on="given")
        publish_many([Created()], on="given")
    finally:
        joined.reset(token)
    publish(Created())
    assert [on for _, on in store.ledger.written] == ["of the subscriber", "given", "given", None]


@pytest.mark.asyncio
async def test_a_coroutine_publishes_in_the_same_way():
    store = store_of(subscribe(first, to=Created))
    store.install()
    one = await apublish(Created(number=1), on="given")
    token = joined.set("of the subscriber")
    try:
        two, three = await apublish_many([Created(number=2), Created(number=3)])
    finally:
        joined.reset(token)
    assert await apublish_many([]) == []
    assert [[record.envelope for record in records] for records, _ in store.ledger.written] == [
        [one], [two, three]
    ]  # fmt: skip
    assert [on for _, on in store.ledger.written] == ["given", "of the subscriber"]


def test_what_the_ledger_raises_reaches_the_publisher():
    store = store_of()

    def write(records, on, *, strict):
        raise Full

    store.ledger.write = write
    store.install()
    with pytest.raises(Full):
        publish(Created())


# ---- the store of the process


def test_without_a_store_publishing_is_an_error_with_the_fix():
    for attempt in (lambda: publish(Created()), lambda: publish_many([]), current_store):
        with pytest.raises(NoStore) as caught:
            attempt()
        assert caught.value.problem == "there is no store, so nobody could hear of this event"
        assert caught.value.fix.startswith("call store.install() once when the application starts")


def test_one_store_is_installed_once_or_again_and_a_second_one_is_refused():
    """Conformance 35."""
    store, other = store_of(), store_of()
    store.install()
    store.install()
    assert installed() is current_store() is store
    with pytest.raises(StoreConflict) as caught:
        other.install()
    assert caught.value.problem == "another store is installed in this process"
    assert installed() is store


def test_tests_swap_the_store_whatever_was_there():
    store, other = store_of(), store_of()
    assert swap(store) is None
    assert swap(other) is store
    assert installed() is other
