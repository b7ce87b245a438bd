"""The frozen table: who hears what, under which ids and names, and all that is wrong with it at once."""

import sqlite3

import pytest

from whereupon import Envelope, Event, SchemaEvent, subscribe, subscriber
from whereupon.errors import InvalidContract, InvalidSubscriber, InvalidSubscription
from whereupon.routing import build_routes


class Created(Event, name="ci.created", aliases=["ci.made"]):
    number: int = 0


class Restarted(Created, name="ci.restarted"):
    pass


class Finished(SchemaEvent, name="ci.finished", schema={"type": "object"}):
    pass


def first(event): ...
def second(event): ...
def third(event): ...


def table(*subscriptions):
    routes, faults = build_routes(subscriptions)
    assert faults == []
    return routes


def faults_of(*subscriptions):
    return build_routes(subscriptions)[1]


def heard(routes, event):
    return [each.subscriber.name for each in routes.by_event.get(event, ())]


# ---- the table


def test_each_event_is_heard_by_its_subscribers_in_the_order_of_the_list():
    """Conformance 29, 37."""
    routes = table(
        subscribe(second, to=Created), subscribe(first, to=[Finished, Created]), subscribe(third, to=Created)
    )
    assert heard(routes, Created) == ["second", "first", "third"]
    assert heard(routes, Finished) == ["first"]
    assert {each.subscriber.name for each in routes} == {"first", "second", "third"}
    assert len(list(routes)) == 4


def test_dispatch_is_by_exact_class():
    """Conformance 33."""
    routes = table(subscribe(first, to=Created))
    assert heard(routes, Restarted) == []


def test_an_empty_table_is_a_table():
    routes = table()
    assert (list(routes), dict(routes.by_id), dict(routes.by_name)) == ([], {}, {})


def test_every_subscription_of_the_table_stands_for_one_event_with_its_id():
    routes = table(subscribe(first, to=[Created, Finished]))
    assert {each.id: each.event for each in routes} == {
        "tests.first:ci.created": Created,
        "tests.first:ci.finished": Finished,
    }


def test_a_subscription_is_found_by_its_id_and_by_those_that_aliases_make():
    @subscriber(name="update", aliases=["refresh"])
    def renamed(event: Created): ...

    routes = table(subscribe(renamed, to=Created))
    (only,) = routes
    assert only.id == "tests.update:ci.created"
    assert dict(routes.by_id) == dict.fromkeys(
        [
            "tests.update:ci.created",
            "tests.update:ci.made",
            "tests.refresh:ci.created",
            "tests.refresh:ci.made",
        ],
        only,
    )


def test_an_event_is_found_by_its_name_and_its_aliases():
    """Conformance 85, B55: by equality in this table and in no other way."""
    routes = table(subscribe(first, to=[Created, Finished]))
    assert dict(routes.by_name) == {"ci.created": Created, "ci.made": Created, "ci.finished": Finished}


@pytest.mark.parametrize("name", ["by_event", "by_id", "by_name"])
def test_nothing_in_the_table_can_change(name):
    """B35, conformance 26, 27."""
    routes = table(subscribe(first, to=Created))
    with pytest.raises(TypeError):
        getattr(routes, name)["x"] = None
    with pytest.raises(AttributeError):
        setattr(routes, name, {})
    assert isinstance(routes.by_event[Created], tuple)


# ---- faults


def test_the_same_subscriber_twice_for_one_event_is_a_fault():
    """B34; conformance 34 allowed it."""
    (fault,) = faults_of(subscribe(first, to=Created), subscribe(first, to=[Finished, Created]))
    assert isinstance(fault, InvalidSubscription)
    assert fault.problem == "tests.first:ci.created stands twice in the table"
    assert fault.where.count("test_routing.py:") == 4
    assert fault.fix == "take one away, or give one subscriber another name="
    assert len(faults_of(subscribe(first, to=[Created, Created]))) == 1


def test_two_subscribers_with_one_id_are_a_fault_even_through_an_alias():
    """B34."""

    @subscriber(name="first")
    def other(event): ...

    @subscriber(aliases=["first"])
    def aliased(event): ...

    for twin in (other, aliased):
        (fault,) = faults_of(subscribe(first, to=Finished), subscribe(twin, to=Finished))
        assert fault.problem == "tests.first:ci.finished stands twice in the table"


def test_two_events_of_one_name_are_a_fault_even_through_an_alias():
    """B30."""

    class Twin(Event, name="ci.created"):
        pass

    class Aliased(Event, name="ci.other", aliases=["ci.made"]):
        pass

    for twin, name in ((Twin, "ci.created"), (Aliased, "ci.made")):
        (fault,) = faults_of(subscribe(first, to=Created), subscribe(second, to=twin))
        assert isinstance(fault, InvalidContract)
        assert fault.problem == f"two events share the name {name}"
        assert fault.where.count("test_routing.py:") == 2
        assert fault.fix == "give one of them another name=, or take the alias away"


def typed(event: Created): ...
def typed_other(event: Finished): ...
def typed_either(event: Created | Finished): ...
def typed_wrongly(event: int): ...
def typed_list(events: list[Created]): ...
def typed_sequence(events: "tuple[Created, ...]"): ...


@pytest.mark.parametrize(
    ("function", "event", "problem"),
    [
        (typed_other, Created, "typed_other takes Finished, and is subscribed to Created"),
        (typed, Finished, "typed takes Created, and is subscribed to Finished"),
        (typed_wrongly, Created, "typed_wrongly takes int, and is subscribed to Created"),
        (typed_either, Restarted, None),
        (typed, Restarted, None),
        (typed_sequence, Created, "typed_sequence takes no event class, and is subscribed to Created"),
    ],
)
def test_an_annotation_that_disagrees_with_to_is_a_fault(function, event, problem):
    faults = faults_of(subscribe(function, to=event))
    assert [fault.problem for fault in faults] == ([problem] if problem else [])
    assert all(fault.fix == "change the annotation of its first parameter, or to=" for fault in faults)
    assert all(fault.where.count("test_routing.py:") == 2 for fault in faults)


def test_a_subscriber_of_lists_wants_groups():
    (fault,) = faults_of(subscribe(typed_list, to=Created))
    assert fault.problem == "typed_list takes a list of events, and is subscribed with groups of 1"
    assert fault.fix == "write group_size=25 or the like"
    assert faults_of(subscribe(typed_list, to=Created, group_size=2)) == []


def test_a_transaction_is_for_atomic_subscribers():
    def plain(event: Created, connection: sqlite3.Connection, envelope: Envelope): ...

    @subscriber(atomic=True)
    def atomic(event: Created, connection: sqlite3.Connection): ...

    (fault,) = faults_of(subscribe(plain, to=Created), subscribe(atomic, to=Created))
    assert isinstance(fault, InvalidSubscriber)
    assert fault.problem == "plain asks for a transaction and is not atomic"
    assert fault.fix == "write @subscriber(atomic=True), or leave the parameter out"


@pytest.mark.parametrize(
    ("thing", "name"),
    [
        (first, "first"),
        (Created, "Created"),
        (Created(number=4711), "an instance of Created"),
        ([], "an instance of list"),
        (None, "None"),
    ],
)
def test_something_else_in_the_list_is_a_fault(thing, name):
    """B33."""
    (fault,) = faults_of(thing)
    assert fault.problem == f"{name} is not a subscription"
    assert fault.fix == "list what subscribe() returns; a whole list is added with a star: *ci.subscriptions"


def test_an_event_whose_annotations_cannot_be_resolved_is_one_fault_however_often_it_is_heard(package):
    source = (
        "from __future__ import annotations\nfrom whereupon import Event\n"
        "class Late(Event):\n    at: Missing\nclass Fine(Event):\n    at: Line\n"
        "from msgspec import Struct\nclass Line(Struct, frozen=True): ...\n"
    )
    events = package({"ci/__init__.py": "", "ci/events.py": source}, "ci.events")
    routes, faults = build_routes(
        [subscribe(each, to=[events.Late, events.Fine]) for each in (first, second)]
        + [subscribe(third, to=events.Fine)]
    )
    assert [fault.problem for fault in faults] == [
        "an annotation of Late uses Missing, which is not there at run time"
    ]
    assert heard(routes, events.Fine) == ["third"]


def test_all_faults_are_told_at_once():
    found = faults_of(
        3,
        subscribe(typed_other, to=Created),
        subscribe(typed_list, to=Created),
        subscribe(first, to=[Created, Created]),
    )
    assert len(found) == 4
