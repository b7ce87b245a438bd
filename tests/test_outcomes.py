"""What a subscriber can say besides returning or failing."""

import pickle
from datetime import timedelta

import pytest

from whereupon import IGNORED, Event, Failed, Park, RetryIn
from whereupon.errors import InvalidSubscriber


class Created(Event, name="shop.created"):
    number: int


def test_ignored_shows_its_name():
    assert repr(IGNORED) == "IGNORED"


@pytest.mark.parametrize("delay", [timedelta(0), timedelta(minutes=1)])
def test_a_retry_carries_its_delay(delay):
    assert RetryIn(delay).delay == delay
    assert pickle.loads(pickle.dumps(RetryIn(delay))).delay == delay


@pytest.mark.parametrize("delay", [timedelta(seconds=-1), 60, 1.5, None, "1m"])
def test_a_retry_takes_a_timedelta_of_zero_or_more(delay):
    with pytest.raises(InvalidSubscriber) as caught:
        RetryIn(delay)
    assert str(caught.value) == f"RetryIn takes a timedelta of zero or more, not {delay!r} [WU201]"


def test_parking_carries_its_reason():
    assert Park("no such order").reason == str(Park("no such order")) == "no such order"


def test_a_partial_failure_carries_the_error_of_each_event_and_shows_no_payload():
    event = Created(number=4711)
    error = ValueError("x")
    failed = Failed({event: error})
    assert failed.errors == {Created(number=4711): error}
    assert str(failed) == "1 of the events failed"
