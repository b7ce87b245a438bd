"""The store: the plan of an event, its records, and every option checked when it is built."""

import dataclasses
import logging
import time
from datetime import timedelta

import pytest

import whereupon.store
from tests.doubles import RecordingLedger
from whereupon import Event, EventStore, SchemaEvent, publish, subscribe, subscriber
from whereupon.codec import TEXT_LIMIT
from whereupon.envelopes import ATTRIBUTES, Envelope, handled
from whereupon.errors import (
    ConditionFailed,
    InvalidContract,
    InvalidEvent,
    InvalidStore,
)
from whereupon.store import swap


class Created(Event, name="ci.created"):
    number: int = 0
    secret: str = "canary-value"


class Finished(Event, name="ci.finished"):
    pass


class Restarted(Created, name="ci.restarted"):
    pass


class Noted(SchemaEvent, name="ci.noted", schema={"type": "object"}):
    pass


def first(event): ...
def second(event): ...
def third(event): ...
def raising(event):
    raise ValueError(f"no {event.secret}")


def store_of(*subscriptions, **options):
    return EventStore(subscriptions=subscriptions, ledger=RecordingLedger(), **options)


def names(subscriptions):
    return [each.subscriber.name for each in subscriptions]


@pytest.fixture(autouse=True)
def no_store():
    previous = swap(None)
    yield
    swap(previous)


# ---- plan


def test_an_event_goes_to_those_who_hear_it_in_the_order_of_the_table():
    store = store_of(subscribe(second, to=Created), subscribe(first, to=[Created, Finished]))
    assert names(store.plan(Created()).subscriptions) == ["second", "first"]
    assert names(store.plan(Finished()).subscriptions) == ["first"]
    assert store.ledger.written == []


@pytest.mark.parametrize("event", [Restarted(), Noted(), Finished()])
def test_an_event_that_nobody_hears_goes_to_nobody(event):
    """Conformance 33, 37."""
    plan = store_of(subscribe(first, to=Created)).plan(event)
    assert (plan.subscriptions, plan.skipped, plan.rechecked) == ((), (), ())


@pytest.mark.parametrize(
    ("verdict", "chosen"), [(True, 1), (False, 0), (1, 1), (0, 0), ("", 0), ((), 0), ((1,), 1), (None, 0)]
)
def test_a_condition_chooses_by_the_truth_of_what_it_returns(verdict, chosen):
    """Conformance 38, B19."""
    store = store_of(subscribe(first, to=Created, when=lambda event: verdict), subscribe(second, to=Created))
    plan = store.plan(Created())
    assert names(plan.subscriptions) == (["first", "second"] if chosen else ["second"])
    assert names(plan.skipped) == ([] if chosen else ["first"])
    assert plan.rechecked == ()


def test_a_condition_is_asked_once_for_each_event_and_subscription():
    asked = []
    subscriptions = [
        subscribe(each, to=Created, when=lambda event: asked.append(event) or True)
        for each in (first, second)
    ]
    store = store_of(*subscriptions)
    events = [Created(number=1), Created(number=2)]
    store.records(events)
    assert asked == [events[0], events[0], events[1], events[1]]


def test_a_condition_may_ask_a_method_of_the_event():
    """Conformance 24."""

    class Tagged(Event, name="ci.tagged"):
        ref: str

        def is_release(self):
            return self.ref.startswith("v")

    store = store_of(subscribe(first, to=Tagged, when=lambda event: event.is_release()))
    assert names(store.plan(Tagged(ref="v1")).subscriptions) == ["first"]
    assert names(store.plan(Tagged(ref="main")).skipped) == ["first"]


def test_a_condition_that_raises_is_reported_and_asked_again_by_the_worker(caplog):
    """Conformance 39, B19: a spare job is better than a missed event."""
    store = store_of(subscribe(first, to=Created, when=raising), subscribe(second, to=Created))
    with caplog.at_level(logging.ERROR):
        plan = store.plan(Created())
    assert names(plan.subscriptions) == ["first", "second"]
    assert names(plan.rechecked) == ["first"]
    assert "the condition of tests.first:ci.created raised ValueError at " in caplog.text
    assert caplog.text.count("the worker asks it again") == 1
    assert "canary" not in caplog.text
    (record,) = store.records([Created()])
    assert [each.recheck for each in record.deliveries] == [True, False]


def test_a_condition_whose_answer_has_no_truth_counts_as_raising():
    class Neither:
        def __bool__(self):
            raise TypeError

    assert names(
        store_of(subscribe(first, to=Created, when=lambda event: Neither())).plan(Created()).rechecked
    ) == ["first"]


def test_in_a_strict_store_a_raising_condition_reaches_the_publisher_and_nothing_is_written():
    """Conformance 39."""
    store = store_of(subscribe(second, to=Created), subscribe(first, to=Created, when=raising), strict=True)
    store.install()
    with pytest.raises(ConditionFailed) as caught:
        publish(Created())
    assert caught.value.problem.startswith("the condition of tests.first:ci.created raised ValueError at ")
    assert "canary" not in str(caught.value)
    assert "[WU305]" in str(caught.value)
    assert isinstance(caught.value.__cause__, ValueError)
    assert "test_store.py:" in caught.value.where
    assert store.ledger.written == []


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_is_no_ordinary_error_passes_a_condition(error, strict):
    """Conformance 41."""

    def condition(event):
        raise error

    with pytest.raises(error):
        store_of(subscribe(first, to=Created, when=condition), strict=strict).plan(Created())


def test_a_condition_over_its_budget_is_reported_by_name_once_a_minute(caplog, monkeypatch):
    """Conformance 104, B19."""
    monkeypatch.setattr("whereupon.store._reported", {})

    def condition(event):
        return sum(range(200_000))

    store = store_of(subscribe(first, to=Created, when=condition), condition_budget=timedelta(microseconds=1))
    assert names(store.plan(Created()).subscriptions) == ["first"]
    assert "the condition of tests.first:ci.created took " in caplog.text
    caplog.clear()
    store.plan(Created())
    assert caplog.text == ""
    monkeypatch.setitem(whereupon.store._reported, "tests.first:ci.created", time.monotonic() - 60.1)
    store.plan(Created())
    assert "the condition of tests.first:ci.created took " in caplog.text
    monkeypatch.setattr("whereupon.store._reported", {})
    caplog.clear()
    dataclasses.replace(
        store_of(subscribe(first, to=Created, when=condition)), condition_budget=timedelta(hours=1)
    ).plan(Created())
    assert caplog.text == ""


def test_an_event_that_bears_the_name_of_another_is_refused_although_nobody_hears_it():
    """B30."""

    class Twin(Event, name="ci.created"):
        pass

    with pytest.raises(InvalidContract, match=r"two events share the name ci\.created"):
        store_of(subscribe(first, to=Created)).plan(Twin())


# ---- records


def test_a_record_holds_event_envelope_text_deliveries_and_who_was_skipped():
    store = store_of(
        subscribe(first, to=Created, delay=timedelta(minutes=1)),
        subscribe(second, to=Created, when=lambda event: False),
        subscribe(third, to=Created),
    )
    event = Created(number=7)
    (record,) = store.records([event])
    assert record.event is event
    assert record.envelope.data == {"number": 7, "secret": "canary-value"}
    assert Envelope.from_json(record.text) == record.envelope
    assert [(each.event_id, each.subscription, each.delay, each.group) for each in record.deliveries] == [
        (record.envelope.id, "tests.first:ci.created", timedelta(minutes=1), None),
        (record.envelope.id, "tests.third:ci.created", timedelta(0), None),
    ]
    assert record.skipped == ("tests.second:ci.created",)


@pytest.mark.parametrize("thing", [None, 3, "ci.created", {"number": 1}, Created, [Created()]])
def test_only_events_are_published(thing):
    """Conformance 42, 47: checked before anything else happens."""
    asked = []
    store = store_of(subscribe(first, to=Created, when=asked.append), carry=lambda: asked.append(1) or {})
    with pytest.raises(InvalidEvent) as caught:
        store.records([Created(), thing])
    assert str(caught.value).splitlines()[1:] == [
        "  payload: is not an event",
        "  fix: publish an instance of a class derived from Event",
    ]
    assert asked == []


def test_an_event_beyond_the_limit_is_refused_with_its_size_and_a_way_out():
    """B10."""
    store = store_of(subscribe(first, to=Created))
    with pytest.raises(InvalidEvent) as caught:
        store.records([Created(secret="x" * 70_000)])
    (fault,) = caught.value.faults
    assert fault.location == ""
    assert fault.expected.endswith("bytes in its envelope, the limit is 65,536")
    assert "raise payload_limit= of the store" in caught.value.fix
    assert "test_store.py:" in caught.value.where
    assert store_of(payload_limit=100_000).records([Created(secret="x" * 70_000)])


def test_an_event_that_fills_the_limit_to_the_byte_is_accepted():
    size = len(store_of().records([Created()])[0].text)
    assert store_of(payload_limit=size).records([Created()])
    with pytest.raises(InvalidEvent, match="the limit is"):
        store_of(payload_limit=size - 1).records([Created()])


# ---- carry


def test_carried_texts_travel_as_extensions_and_subject_as_subject():
    calls = []
    store = store_of(
        subscribe(first, to=Created),
        carry=lambda: calls.append(1) or {"tenantid": "acme", "subject": "user-1"},
    )
    one, two = store.records([Created(), Created()])
    assert one.envelope.extensions == two.envelope.extensions == {"tenantid": "acme"}
    assert one.envelope.subject == two.envelope.subject == "user-1"
    assert calls == [1]


def test_what_is_carried_goes_before_what_the_cause_carried():
    store = store_of(carry=lambda: {"locale": "fr"})
    (cause,) = store_of(carry=lambda: {"locale": "de", "tenantid": "acme"}).records([Created()])
    token = handled.set(cause.envelope)
    try:
        (record,) = store.records([Created()])
    finally:
        handled.reset(token)
    assert record.envelope.extensions == {"locale": "fr", "tenantid": "acme"}
    assert record.envelope.causation_id == cause.envelope.id


@pytest.mark.parametrize(
    ("carried", "location", "expected"),
    [
        *(
            ({name: "x"}, name, "must have a name of 1 to 20 lower-case letters and digits")
            for name in ("", "tenant_id", "Tenant", "a" * 21, "t\n", "é")
        ),
        ({3: "x"}, "3", "must have a name of 1 to 20 lower-case letters and digits"),
        *(
            ({name: "x"}, name, "is an attribute of every envelope; carry it under another name")
            for name in sorted(ATTRIBUTES - {"subject"})
        ),
        ({"tenantid": 3}, "tenantid", "must be a text, not int"),
        ({"subject": None}, "subject", "must be a text, not NoneType"),
        ({"tenantid": "a\0b"}, "tenantid", "must not contain the character NUL"),
        ({"tenantid": "\ud800"}, "tenantid", "must not contain a lone surrogate"),
    ],
)
def test_what_an_envelope_cannot_carry_is_refused(carried, location, expected):
    """B18, B62, conformance 87."""
    with pytest.raises(InvalidEvent) as caught:
        store_of(carry=lambda: carried).records([Created()])
    assert [(fault.location, fault.expected) for fault in caught.value.faults] == [(location, expected)]


# ---- building


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        *(
            ({name: value}, f"{name}= of the store takes a timedelta of zero or more, not {value!r}")
            for name in ("condition_budget", "spread", "retention", "wait_for_code")
            for value in (1, None, timedelta(-1))
        ),
        *(
            (
                {"payload_limit": value},
                f"payload_limit= of the store takes bytes from 1 to 2,097,152, not {value!r}",
            )
            for value in (0, -1, True, 1.5, None, TEXT_LIMIT + 1)
        ),
        *(({name: 3}, f"{name}= of the store takes a function, not 3") for name in ("carry", "around")),
    ],
)
def test_an_option_out_of_range_is_a_fault_of_the_store(options, problem):
    """B38."""
    with pytest.raises(InvalidStore) as caught:
        store_of(**options)
    assert [fault.problem for fault in caught.value.faults] == [problem]


@pytest.mark.parametrize("limit", [1, TEXT_LIMIT])
def test_a_limit_at_the_edge_is_taken(limit):
    assert store_of(payload_limit=limit, spread=timedelta(0)).payload_limit == limit


def test_the_options_of_a_store_have_these_defaults():
    store = store_of()
    assert (store.strict, store.carry, store.around, store.payload_limit) == (False, None, None, 65_536)
    assert (store.condition_budget, store.spread) == (timedelta(milliseconds=1), timedelta(seconds=10))
    assert (store.retention, store.wait_for_code) == (timedelta(days=1), timedelta(hours=1))


def test_all_faults_are_told_at_once_those_of_the_ledger_too():
    @subscriber(queue="unknown")
    def lost(event): ...

    with pytest.raises(InvalidStore) as caught:
        store_of(
            3, subscribe(lost, to=Created), subscribe(first, to=[Created, Created]), spread=3, payload_limit=0
        )
    assert [fault.problem for fault in caught.value.faults] == [
        "3 is not a subscription",
        "tests.first:ci.created stands twice in the table",
        "nobody serves the queue of tests.lost:ci.created",
        "spread= of the store takes a timedelta of zero or more, not 3",
        "payload_limit= of the store takes bytes from 1 to 2,097,152, not 0",
    ]
    assert str(caught.value).startswith(
        "the store cannot be built: 5 faults [WU204]\n- 3 is not a subscription"
    )


def test_a_store_cannot_be_changed_and_reads_its_list_once():
    """B35, conformance 26."""
    listed = [subscribe(first, to=Created)]
    store = EventStore(subscriptions=(each for each in listed), ledger=RecordingLedger())
    assert store.subscriptions == tuple(listed)
    with pytest.raises(dataclasses.FrozenInstanceError):
        store.subscriptions = ()
    assert dataclasses.replace(store, strict=True).subscriptions == tuple(listed)
