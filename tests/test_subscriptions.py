"""Subscriptions and overlays: when a subscriber hears, under which ids, and who else may add to the table."""

from collections.abc import Sequence
from datetime import timedelta
from importlib import metadata

import pytest

from whereupon import Event, SchemaEvent, overlays, subscribe, subscriber
from whereupon.errors import InvalidContract, InvalidOverlay, InvalidSubscriber, InvalidSubscription
from whereupon.subscriptions import Subscription, location


class Created(Event, name="ci.created", aliases=["ci.made"]):
    number: int = 0


class Finished(Event, name="ci.finished"):
    pass


class Base(Event, name="ci.base", abstract=True):
    pass


def handle(event: Created): ...


@subscriber(name="update", aliases=["refresh", "renew"])
def renamed(event: Created): ...


def refusal(make):
    with pytest.raises(InvalidSubscription) as caught:
        make()
    assert "[WU202]" in str(caught.value)
    return caught.value


# ---- subscribe


def test_a_subscription_holds_what_it_was_given():
    """Conformance 28, 30."""

    def condition(event):
        return event.number

    made = subscribe(handle, to=Created, when=condition, delay=timedelta(minutes=1), group_size=25)
    assert isinstance(made, Subscription)
    assert made.subscriber.function is handle
    assert made.events == (Created,)
    assert made.event is Created
    assert made.condition is condition
    assert (made.delay, made.group_size) == (timedelta(minutes=1), 25)


def test_a_subscription_without_options_hears_at_once_one_by_one():
    made = subscribe(handle, to=Created)
    assert (made.condition, made.delay, made.group_size) == (None, timedelta(0), 1)


@pytest.mark.parametrize("to", [[Created, Finished], (Created, Finished)])
def test_a_subscriber_may_hear_several_events_with_an_id_for_each(to):
    """Conformance 29."""
    made = subscribe(handle, to=to)
    assert made.events == (Created, Finished)
    assert [(each.event, each.id) for each in made.each()] == [
        (Created, "tests.handle:ci.created"),
        (Finished, "tests.handle:ci.finished"),
    ]
    with pytest.raises(ValueError, match="too many values"):
        made.event  # noqa: B018


def test_the_ids_of_a_subscription_are_made_of_all_names_of_subscriber_and_event():
    (made,) = subscribe(renamed, to=Created).each()
    assert made.id == "tests.update:ci.created"
    assert made.ids == tuple(
        f"tests.{own}:{event}"
        for own in ("update", "refresh", "renew")
        for event in ("ci.created", "ci.made")
    )


def test_a_subscription_knows_the_line_that_made_it():
    line = test_a_subscription_knows_the_line_that_made_it.__code__.co_firstlineno + 2
    made = subscribe(handle, to=Created)
    assert made.where.endswith(f"test_subscriptions.py:{line}")
    assert location(made) == f"{made.subscriber.where}, subscribed at {made.where}"


def test_a_subscription_cannot_be_changed():
    """B35, conformance 26."""
    with pytest.raises(AttributeError):
        subscribe(handle, to=Created).delay = timedelta(1)


@pytest.mark.parametrize(
    ("to", "fault"),
    [
        (int, "to= takes event classes, and int is not one"),
        (None, "to= takes event classes, and None is not one"),
        ("ci.created", "to= takes event classes, and 'c' is not one"),
        (Created(), "to= takes event classes, and an instance of Created is not one"),
        ({Created}, "to= takes event classes, and an instance of set is not one"),
        ([Created, int], "to= takes event classes, and int is not one"),
        (Base, "Base is a base class; events are matched by exact class, so name those below it"),
        (Event, "Event is a base class; events are matched by exact class, so name those below it"),
        (SchemaEvent, "SchemaEvent is a base class; events are matched by exact class"),
        ([], "to= names no event"),
    ],
)
def test_only_event_classes_can_be_heard(to, fault):
    """B33, conformance 31."""
    error = refusal(lambda: subscribe(handle, to=to))
    assert error.problem.startswith(f"handle cannot be subscribed like this:\n  {fault}")
    assert "test_subscriptions.py:" in error.where


async def later(event): ...


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"when": True}, "when= takes a function of the event"),
        ({"when": "event.ref"}, "when= takes a function of the event"),
        ({"when": later}, "when= is asked in the publisher and cannot be async"),
        ({"delay": 60}, "delay= takes a timedelta of zero or more, not 60"),
        ({"delay": None}, "delay= takes a timedelta of zero or more, not None"),
        (
            {"delay": timedelta(-1)},
            "delay= takes a timedelta of zero or more, not datetime.timedelta(days=-1)",
        ),
        ({"group_size": 0}, "group_size= takes a number from 1, not 0"),
        ({"group_size": True}, "group_size= takes a number from 1, not True"),
        ({"group_size": 2.0}, "group_size= takes a number from 1, not 2.0"),
        ({"group_size": None}, "group_size= takes a number from 1, not None"),
    ],
)
def test_an_option_out_of_range_is_refused_with_what_it_takes(options, fault):
    """B38."""
    assert refusal(lambda: subscribe(handle, to=Created, **options)).problem.endswith(f":\n  {fault}")


def test_all_faults_are_told_at_once_and_those_of_the_event_first():
    error = refusal(lambda: subscribe(handle, to=[int, Base], when=3, delay=3, group_size=0))
    assert [line.split()[0] for line in error.problem.splitlines()[1:]] == [
        "to=", "Base", "when=", "delay=", "group_size="
    ]  # fmt: skip


def test_the_subscriber_is_checked_behind_the_event():
    """Conformance 32."""
    with pytest.raises(InvalidSubscriber, match="None is not a subscriber"):
        subscribe(None, to=Created)
    refusal(lambda: subscribe(None, to=int))


def test_an_event_whose_contract_cannot_hold_is_told_when_its_id_is_needed(package):
    source = (
        "from __future__ import annotations\nfrom whereupon import Event\n"
        "class Created(Event, name='ci.late'):\n    at: Missing"
    )
    events = package({"ci/__init__.py": "", "ci/events.py": source}, "ci.events")
    made = subscribe(handle, to=events.Created)
    with pytest.raises(InvalidContract, match="an annotation of Created uses Missing"):
        made.each()


# ---- overlays

OVERLAY = """
from whereupon import Event, subscribe
class Archived(Event, name="ee.archived"): ...
def archive(event: Archived): ...
subscriptions = {subscriptions}
"""


@pytest.fixture(autouse=True)
def no_variable(monkeypatch):
    monkeypatch.delenv("WHEREUPON_OVERLAYS", raising=False)


@pytest.fixture
def overlay(package):
    """Write an overlay module and return its dotted name."""

    def write(subscriptions="[subscribe(archive, to=Archived)]", source=OVERLAY):
        module = package({"ee/__init__.py": ""}, "ee")
        from pathlib import Path

        path = Path(module.__file__).with_name("subscriptions.py")
        path.write_text(source.replace("{subscriptions}", subscriptions))
        return f"{module.__name__}.subscriptions"

    return write


@pytest.fixture
def entry_points(monkeypatch):
    """Pretend that packages with these entry points are installed."""

    def install(**points):
        found = [metadata.EntryPoint(name, value, "whereupon.overlays") for name, value in points.items()]
        monkeypatch.setattr(
            metadata, "entry_points", lambda group: found if group == "whereupon.overlays" else []
        )

    return install


def ids(found: Sequence[Subscription]) -> list[str]:
    return [each.id for listed in found for each in listed.each()]


@pytest.mark.parametrize(
    "subscriptions",
    [
        "[subscribe(archive, to=Archived)]",
        "(subscribe(archive, to=Archived),)",
        "subscribe(archive, to=Archived)",
        "lambda: [subscribe(archive, to=Archived)]",
        "lambda: subscribe(archive, to=Archived)",
        "lambda: (each for each in [subscribe(archive, to=Archived)])",
    ],
)
def test_an_overlay_is_a_list_of_subscriptions_or_a_function_that_returns_one(
    overlay, entry_points, subscriptions
):
    """Conformance 69."""
    name = overlay(subscriptions)
    assert ids(overlays(name)) == ["ee.archive:ee.archived"]
    entry_points(ee=f"{name}:subscriptions")
    assert ids(overlays()) == ["ee.archive:ee.archived"]


def test_without_entry_points_there_are_no_overlays():
    assert overlays() == []


def test_entry_points_are_read_in_the_order_of_their_names(overlay, entry_points):
    source = OVERLAY + "def first(event: Archived): ...\nalso = [subscribe(first, to=Archived)]\n"
    name = overlay(source=source)
    entry_points(b=f"{name}:subscriptions", a=f"{name}:also")
    assert ids(overlays()) == ["ee.first:ee.archived", "ee.archive:ee.archived"]


def test_named_modules_are_read_instead_of_entry_points(overlay, entry_points):
    entry_points(broken="no.such.module:subscriptions")
    assert ids(overlays(overlay())) == ["ee.archive:ee.archived"]


def test_the_variable_goes_before_both_and_empty_means_base_only(overlay, entry_points, monkeypatch):
    name = overlay()
    entry_points(broken="no.such.module:subscriptions")
    monkeypatch.setenv("WHEREUPON_OVERLAYS", f" {name} , ")
    assert ids(overlays()) == ids(overlays("no.such.module")) == ["ee.archive:ee.archived"]
    monkeypatch.setenv("WHEREUPON_OVERLAYS", "")
    assert overlays() == overlays(name) == []


def test_an_overlay_that_cannot_be_imported_is_an_error_with_its_cause_and_the_way_without_it(entry_points):
    """B36."""
    entry_points(ee="no_such_module_of_a_test:subscriptions")
    for attempt in (overlays, lambda: overlays("no_such_module_of_a_test")):
        with pytest.raises(InvalidOverlay) as caught:
            attempt()
        assert "cannot be read: ModuleNotFoundError: No module named 'no_such_module_of_a_test'" in str(
            caught.value
        )
        assert "[WU203]" in str(caught.value)
        assert "set WHEREUPON_OVERLAYS= (empty) to run without overlays" in caught.value.fix
        assert isinstance(caught.value.__cause__, ModuleNotFoundError)


@pytest.mark.parametrize(
    "subscriptions", ["1 / 0", "lambda: 1 / 0", "lambda: (1 / 0 for _ in [1])", "(1 / 0 for _ in [1])"]
)
def test_an_overlay_that_fails_when_it_is_read_is_an_error_with_its_cause(overlay, subscriptions):
    """B36: never half configured."""
    with pytest.raises(InvalidOverlay, match="cannot be read: ZeroDivisionError: division by zero") as caught:
        overlays(overlay(subscriptions))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_what_whereupon_itself_objects_to_is_told_as_it_is(overlay):
    with pytest.raises(InvalidSubscription, match="group_size= takes a number from 1"):
        overlays(overlay("lambda: subscribe(archive, to=Archived, group_size=0)"))


def test_a_module_without_subscriptions_is_an_error_with_the_nearest_name(overlay):
    name = overlay(source=OVERLAY.replace("subscriptions = {subscriptions}", "subscription = []"))
    with pytest.raises(InvalidOverlay) as caught:
        overlays(name)
    assert (
        caught.value.problem
        == f"the overlay {name} has no name 'subscriptions'; did you mean 'subscription'?"
    )


@pytest.mark.parametrize(
    "subscriptions", ["[3]", "3", "'text'", "[archive]", "[[subscribe(archive, to=Archived)]]"]
)
def test_an_overlay_of_something_else_is_an_error(overlay, subscriptions):
    with pytest.raises(InvalidOverlay, match="which is not a subscription") as caught:
        overlays(overlay(subscriptions))
    assert caught.value.fix == "an overlay is a list of subscribe(...), or a function that returns one"
