"""Subscribers: options, names, contexts, and what the parameters of a function ask for."""

import functools
import sqlite3
from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any

import pytest

from whereupon import Envelope, Event, SchemaEvent, subscriber
from whereupon.errors import InvalidSubscriber
from whereupon.subscribers import Options, accepts, fourth_power, needs_transaction, subscriber_of


class Created(Event, name="ci.created"):
    number: int = 0


class Finished(Event, name="ci.finished"):
    pass


class Restarted(Created, name="ci.restarted"):
    pass


class Written(SchemaEvent, name="ci.written", schema={"type": "object"}):
    pass


def refusal(make):
    with pytest.raises(InvalidSubscriber) as caught:
        make()
    assert "[WU201]" in str(caught.value)
    return caught.value


# ---- @subscriber


def test_a_decorated_function_is_the_function_that_it_was():
    def handle(event: Created) -> int:
        return event.number

    assert subscriber(handle) is handle
    assert subscriber(queue="ci")(handle) is handle
    assert handle(Created(number=7)) == 7


def test_bare_and_missing_decorators_mean_the_defaults():
    def plain(event: Created): ...

    @subscriber
    def bare(event: Created): ...

    @subscriber()
    def called(event: Created): ...

    defaults = Options()
    assert [subscriber_of(each).options for each in (plain, bare, called)] == [defaults] * 3
    assert (defaults.queue, defaults.priority, defaults.max_attempts) == ("default", "normal", 25)
    assert (defaults.timeout, defaults.concurrency, defaults.atomic, defaults.park_on) == (
        None,
        None,
        False,
        (),
    )


def test_options_say_how_it_works():
    @subscriber(
        queue="merge_requests",
        priority="high",
        max_attempts=10,
        backoff=lambda attempt: timedelta(seconds=attempt),
        timeout=timedelta(seconds=5),
        concurrency=2,
        atomic=True,
        park_on=[KeyError, LookupError],
        name="update_head",
        aliases=["update_head_pipeline"],
    )
    def handle(event: Created): ...

    found = subscriber_of(handle)
    options = found.options
    assert (options.queue, options.priority, options.max_attempts) == ("merge_requests", "high", 10)
    assert (options.timeout, options.concurrency, options.atomic) == (timedelta(seconds=5), 2, True)
    assert options.park_on == (KeyError, LookupError)
    assert options.backoff(3) == timedelta(seconds=3)
    assert found.name == "update_head"
    assert found.names == ("update_head", "update_head_pipeline")


@pytest.mark.parametrize("wait", [timedelta(0), timedelta(minutes=1)])
def test_a_backoff_may_be_one_wait_for_all_attempts(wait):
    @subscriber(backoff=wait)
    def handle(event: Created): ...

    assert {subscriber_of(handle).options.backoff(attempt) for attempt in range(1, 30)} == {wait}


@pytest.mark.parametrize("attempt", [1, 2, 10, 25])
def test_the_default_wait_grows_with_the_fourth_power_and_some_jitter(attempt):
    shortest = timedelta(seconds=attempt**4 + 15)
    waits = {fourth_power(attempt) for _ in range(50)}
    assert all(shortest <= wait <= shortest + timedelta(seconds=10 * (attempt + 1)) for wait in waits)
    assert len(waits) > 1


def test_twenty_five_attempts_take_about_three_weeks():
    assert timedelta(days=18) < sum(map(fourth_power, range(1, 25)), timedelta()) < timedelta(days=23)


BACKOFF = "backoff= takes a timedelta of zero or more, or a function from the attempt to one"
FAULTS = {
    "queue= takes a name": ("queue", ["", " ", None, 3]),
    "priority= takes one of high, normal, low, not 'urgent'": ("priority", ["urgent"]),
    "priority= takes one of high, normal, low, not None": ("priority", [None]),
    "max_attempts= takes a number from 1": ("max_attempts", [0, -1, 1.0, True, "3", None]),
    BACKOFF: ("backoff", [3, None, timedelta(seconds=-1)]),
    "timeout= takes a timedelta of more than zero": ("timeout", [5, timedelta(0), timedelta(-1), "1s"]),
    "concurrency= takes a number from 1": ("concurrency", [0, -1, 1.5, True]),
    "atomic= takes True or False": ("atomic", [1, None, "yes"]),
    "park_on= takes a list of exception classes": (
        "park_on",
        [KeyError, [3], [BaseException], [KeyError()], "KeyError", 3, None],
    ),
    "aliases= takes a list of names": ("aliases", ["old", 3, None]),
    "'Old' cannot be a subscriber's name: it takes lower-case letters, digits and _": ("name", ["Old"]),
    "3 cannot be a subscriber's name: it takes lower-case letters, digits and _": ("aliases", [["fine", 3]]),
    "queu= is not an option; did you mean 'queue'?": ("queu", ["ci"]),
    "max_retries= is not an option; did you mean 'max_attempts'?": ("max_retries", [3]),
    "delay= is not an option": ("delay", [timedelta(1)]),
    "when= is not an option": ("when", [bool]),
}


@pytest.mark.parametrize(
    ("option", "value", "fault"),
    [(option, value, fault) for fault, (option, values) in FAULTS.items() for value in values],
)
def test_an_option_out_of_range_is_refused_with_what_it_takes(option, value, fault):
    """B38."""

    def handle(event: Created): ...

    error = refusal(lambda: subscriber(**{option: value})(handle))
    assert error.problem == f"the subscriber handle cannot work like this:\n  {fault}"
    assert "test_subscribers.py:" in error.where


def test_all_faults_are_told_at_once():
    def handle(event: Created): ...

    error = refusal(lambda: subscriber(queue="", priority="x", max_attempts=0, prio=1, name="A")(handle))
    assert [line.split("=")[0].strip() for line in error.problem.splitlines()[1:5]] == [
        "prio", "queue", "priority", "max_attempts"
    ]  # fmt: skip
    assert "'A' cannot be" in error.problem


@pytest.mark.parametrize("thing", ["merge_requests", 3, None.__str__])
def test_an_option_that_is_not_written_by_name_is_refused(thing):
    error = refusal(lambda: subscriber(thing))
    assert "is not a function, so @subscriber cannot say how it works" in error.problem
    assert error.fix == 'write the options by name: @subscriber(queue="...")'


# ---- reading a function


def test_name_and_context_come_from_the_function():
    def handle(event: Created): ...

    handle.__module__ = "shop.merge_requests.subscribers"
    found = subscriber_of(handle)
    assert (found.name, found.context, found.function) == ("handle", "merge_requests", handle)
    assert found.where.endswith(f":{handle.__code__.co_firstlineno}")


@pytest.mark.parametrize("module", ["__main__", "subscribers"])
def test_a_function_whose_context_cannot_be_told_is_refused(module):
    def handle(event: Created): ...

    handle.__module__ = module
    error = refusal(lambda: subscriber_of(handle))
    assert error.problem == f"the context of handle cannot be told from the module {module}"
    assert error.fix == "move it into a package, for example shop/orders/subscribers.py"


@pytest.mark.parametrize(
    ("thing", "name"),
    [
        (None, "None"),
        (3, "3"),
        ("handle", "'handle'"),
        (Created, "Created"),
        (Created(number=4711), "an instance of Created"),
        (object(), "an instance of object"),
    ],
)
def test_only_a_function_is_a_subscriber(thing, name):
    """B33, conformance 32."""
    error = refusal(lambda: subscriber_of(thing))
    assert error.problem == f"{name} is not a subscriber"
    assert error.fix == "pass a function whose first parameter is the event"


def test_a_function_without_a_stable_name_is_refused():
    error = refusal(lambda: subscriber_of(lambda event: None))
    assert error.problem == "<lambda> cannot be the stable name of a subscriber"
    assert error.fix == 'write @subscriber(name="...") with lower-case letters, digits and _'
    assert subscriber_of(subscriber(name="named")(lambda event: None)).name == "named"


def handles_one(event: Created): ...
def handles_anything(event): ...
def handles_any(event: Any): ...
def handles_either(event: Created | Finished): ...
def handles_annotated(event: Annotated[Created, "note"]): ...
def handles_base(event: Event): ...
def handles_list(events: list[Created]): ...
def handles_list_of_either(events: list[Created | Finished]): ...
def handles_list_of_any(events: list): ...
def handles_text(event: "Created"): ...
async def handles_later(event: Created): ...
def takes_envelope(event: Created, envelope: Envelope): ...
def takes_transaction(event: Created, connection: sqlite3.Connection): ...
def takes_both(event: Created, connection: sqlite3.Connection, envelope: Envelope): ...
def takes_positional(event: Created, /, envelope: Envelope): ...


@pytest.mark.parametrize(
    ("function", "events", "takes_list"),
    [
        (handles_one, (Created,), False),
        (handles_anything, None, False),
        (handles_any, None, False),
        (handles_either, (Created, Finished), False),
        (handles_annotated, (Created,), False),
        (handles_base, (Event,), False),
        (handles_list, (Created,), True),
        (handles_list_of_either, (Created, Finished), True),
        (handles_text, (Created,), False),
    ],
)
def test_the_first_parameter_says_which_events_and_whether_a_list(function, events, takes_list):
    found = subscriber_of(function)
    assert (found.events, found.takes_list, found.takes) == (events, takes_list, ())


@pytest.mark.parametrize(
    ("function", "takes", "transaction"),
    [
        (takes_envelope, (Envelope,), ()),
        (takes_transaction, (sqlite3.Connection,), (sqlite3.Connection,)),
        (takes_both, (sqlite3.Connection, Envelope), (sqlite3.Connection,)),
        (takes_positional, (Envelope,), ()),
    ],
)
def test_further_parameters_are_found_by_annotation(function, takes, transaction):
    found = subscriber_of(function)
    assert found.takes == takes
    assert needs_transaction(found) == transaction


@pytest.mark.parametrize(
    ("function", "event", "accepted"),
    [
        (handles_one, Created, True),
        (handles_one, Restarted, True),
        (handles_one, Finished, False),
        (handles_either, Finished, True),
        (handles_either, Written, False),
        (handles_anything, Written, True),
        (handles_base, Created, True),
        (handles_base, Written, False),
        (handles_list, Created, True),
        (handles_list, Finished, False),
    ],
)
def test_an_annotation_allows_its_class_and_those_below(function, event, accepted):
    assert accepts(subscriber_of(function), event) is accepted


def test_an_annotation_that_is_no_event_allows_none():
    def handle(events: Sequence[Created]): ...

    assert not accepts(subscriber_of(handle), Created)


def wrapped(function):
    @functools.wraps(function)
    def wrapper(event):
        return function(event)

    return wrapper


def wrapped_in_a_coroutine(function):
    @functools.wraps(function)
    async def wrapper(event):
        return function(event)

    return wrapper


@pytest.mark.parametrize(
    ("function", "is_async"),
    [
        (handles_one, False),
        (handles_later, True),
        (wrapped(handles_one), False),
        (wrapped(handles_later), True),
        (wrapped_in_a_coroutine(handles_one), True),
    ],
)
def test_a_subscriber_is_async_when_calling_it_gives_a_coroutine(function, is_async):
    assert subscriber_of(function).is_async is is_async


def test_a_wrapped_function_keeps_name_options_and_annotations():
    @subscriber(queue="ci")
    def handle(event: Created, envelope: Envelope): ...

    @functools.wraps(handle)
    def wrapper(*args):
        return handle(*args)

    found = subscriber_of(wrapper)
    assert (found.name, found.options.queue, found.events, found.takes) == (
        "handle", "ci", (Created,), (Envelope,)
    )  # fmt: skip
    assert found.function is wrapper


def without_parameters(): ...
def variadic(*events): ...
def keywords(**events): ...
def keyword_only(*, event: Created): ...
def bare_further(event: Created, other): ...
def default_further(event: Created, retries=3): ...
def union_further(event: Created, envelope: Envelope | None): ...
def variadic_further(event: Created, *others: Envelope): ...
def keyword_further(event: Created, *, envelope: Envelope): ...
def missing_annotation(event: "Missing"): ...  # noqa: F821


@pytest.mark.parametrize("function", [without_parameters, variadic, keywords, keyword_only])
def test_a_function_without_a_place_for_the_event_is_refused(function):
    error = refusal(lambda: subscriber_of(function))
    assert error.problem == f"{function.__name__} has no parameter for the event"
    assert error.fix == "write the event as its first parameter, annotated with its class"
    assert "test_subscribers.py:" in error.where


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (bare_further, "other"),
        (default_further, "retries"),
        (union_further, "envelope"),
        (variadic_further, "others"),
        (keyword_further, "envelope"),
    ],
)
def test_a_parameter_that_nothing_fills_is_refused(function, name):
    error = refusal(lambda: subscriber_of(function))
    assert error.problem == f"nothing fills the parameter {name} of {function.__name__}"
    assert error.fix.startswith("annotate it as Envelope, with atomic=True as the ledger's transaction")


def test_an_annotation_that_is_not_there_at_run_time_is_refused_by_name():
    error = refusal(lambda: subscriber_of(missing_annotation))
    assert error.problem == (
        "an annotation of missing_annotation uses Missing, which is not there at run time"
    )
    assert error.fix == "import it outside `if TYPE_CHECKING:`"


class Callable:
    def __call__(self, event): ...


@pytest.mark.parametrize("thing", [functools.partial(handles_one), Callable()])
def test_something_callable_that_is_no_function_is_refused(thing):
    error = refusal(lambda: subscriber_of(subscriber(name="named")(thing)))
    assert error.fix == "pass a function that is written with def"
