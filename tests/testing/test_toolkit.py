"""The testing toolkit: it must pass where it should, fail where it should, and say why."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import unittest
from contextlib import closing
from unittest import mock

import pytest
from dirty_equals import IsPositiveInt

from tests.testing import shop
from tests.testing.shop import Created, Finished, Written
from whereupon import IGNORED, Park, SQLiteLedger, publish, publish_many
from whereupon.errors import ConditionFailed, NoStore, NoTransaction
from whereupon.testing import (
    aconsume,
    adeliver_all,
    assert_not_dispatched,
    assert_subscribed,
    consume,
    deliver_all,
    expected,
    published,
    publishes,
    publishes_nothing,
    using_store,
)


@pytest.fixture
def ledger(tmp_path):
    ledger = SQLiteLedger(tmp_path / "shop.sqlite3", own_transaction=True)
    ledger.migrate()
    with closing(sqlite3.connect(ledger.path)) as connection, connection:
        connection.execute("CREATE TABLE booking (number INTEGER)")
    return ledger


@pytest.fixture(autouse=True)
def store(ledger):
    shop.heard.clear()
    with using_store(shop.make_store(ledger)) as store:
        yield store


@pytest.fixture
def connection(ledger):
    with closing(sqlite3.connect(ledger.path)) as connection:
        yield connection


def bookings(ledger) -> int:
    with ledger.reading() as transaction:
        return transaction.rows("SELECT count(*) FROM booking")[0][0]


class TestPublished:
    def test_it_records_in_order_and_delivers_nothing(self, ledger):
        with published() as events:
            publish(Created(number=1))
            publish_many([Finished(number=2), Created(number=3, ref="x")])
        assert events == [Created(number=1), Finished(number=2), Created(number=3, ref="x")]
        assert shop.heard == []
        with ledger.reading() as transaction:
            assert transaction.rows("SELECT count(*) FROM whereupon_event") == [(0,)]

    def test_it_compares_with_expected_values_and_matchers(self):
        with published() as events:
            publish(Created(number=5))
        assert events == [expected(Created, number=mock.ANY)]
        assert events == [expected(Created, number=IsPositiveInt)]
        assert events != [expected(Created, number=4)]
        assert events != [expected(Created, number=5, ref="x")]
        assert events != []
        assert events != [expected(Finished, number=5)]

    def test_unnamed_fields_are_expected_to_equal_their_default(self):
        with published() as events:
            publish(Created(number=5, tags=("a",)))
        assert events != [expected(Created, number=5)]
        assert events == [expected(Created, number=5, tags=("a",))]

    def test_a_hand_written_event_compares_by_its_properties(self):
        with published() as events:
            publish(Written(ref="x", more=1))
        assert events == [expected(Written, ref="x", more=mock.ANY)]
        assert events != [expected(Written, ref="x")]

    def test_what_is_rolled_back_vanishes_and_what_is_uncommitted_is_seen(self, connection):
        with published() as events:
            publish(Created(number=1), on=connection)
            assert len(events) == 1
            assert events.waiting == 1
            assert "1 of them waiting for a commit" in repr(events)
            connection.rollback()
            assert len(events) == 0
            publish(Created(number=2), on=connection)
            connection.execute("SAVEPOINT inner")
            publish(Created(number=3), on=connection)
            connection.execute("ROLLBACK TO inner")
            connection.commit()
        assert events == [Created(number=2)]
        assert events.waiting == 0

    def test_a_publish_that_no_transaction_covers_fails_the_test_as_it_fails_the_application(self, ledger):
        strict = shop.make_store(SQLiteLedger(ledger.path))
        with using_store(strict), published(), pytest.raises(NoTransaction):
            publish(Created(number=1))

    def test_strict_is_on(self, ledger):
        from whereupon import EventStore, subscribe

        def boom(event: Created) -> bool:
            raise ZeroDivisionError

        broken = EventStore(subscriptions=[subscribe(shop.on_created, to=Created, when=boom)], ledger=ledger)
        with using_store(broken), published() as events, pytest.raises(ConditionFailed):
            publish(Created(number=1))
        assert len(events) == 0

    def test_without_a_store_it_records_all_the_same(self):
        from whereupon.store import swap

        previous = swap(None)
        try:
            with published() as events:
                publish(Created(number=1))
            assert events == [Created(number=1)]
            with pytest.raises(NoStore):
                publish(Created(number=1))
        finally:
            swap(previous)

    def test_events_go_through_the_wire(self):
        with published() as events:
            publish(Created(number=1, tags=["a", "b"]))
        assert events[0].tags == ("a", "b")
        assert events.envelopes[0].data == {"number": 1, "tags": ["a", "b"]}

    def test_expected_refuses_what_the_event_does_not_have(self):
        with pytest.raises(TypeError, match="no field 'numbr'; did you mean 'number'"):
            expected(Created, numbr=1)
        with pytest.raises(TypeError, match=r"required field 'number'.*mock\.ANY"):
            expected(Created)


class TestPublishes:
    def test_exactly_one_such_event_others_allowed(self):
        with publishes(Created, number=1):
            publish(Created(number=1))
            publish(Created(number=2))

    @pytest.mark.parametrize(
        ("events", "message"),
        [
            ([], r"expected one event to be published:\s+Created\(number=1.*nothing was published"),
            ([Created(number=2)], r"the nearest: number is 2, expected 1"),
            ([Created(number=1, ref="x")], r"the nearest: ref is 'x', expected None"),
            ([Created(number=1)] * 2, r"but it was published 2 times"),
            ([Finished(number=1)], r"published:\s+Finished\(number=1\)"),
        ],
    )
    def test_a_failure_shows_expected_beside_published_and_the_nearest(self, events, message):
        with pytest.raises(AssertionError) as caught, publishes(Created, number=1):
            publish_many(events)
        assert re.search(message, str(caught.value), re.DOTALL), str(caught.value)

    def test_only_refuses_others(self):
        with pytest.raises(AssertionError, match="but others were published too"):
            with publishes(Created, only=True, number=1):
                publish_many([Created(number=1), Finished(number=1)])

    def test_a_failure_says_when_events_wait_for_a_commit(self, connection):
        with pytest.raises(AssertionError, match="waiting for the transaction to be committed"):
            with publishes(Finished, number=1):
                publish(Created(number=1), on=connection)

    def test_an_exception_of_the_block_is_not_hidden(self):
        with pytest.raises(ZeroDivisionError), publishes(Created, number=1):
            raise ZeroDivisionError

    def test_nothing_means_nothing(self):
        with publishes_nothing():
            pass
        with pytest.raises(AssertionError, match=r"(?s)expected no event.*Created\(number=1") as caught:
            with publishes_nothing():
                publish(Created(number=1))
        assert "expected no event to be published" in str(caught.value)

    def test_inside_published_both_see_the_events(self):
        with published() as events:
            publish(Created(number=0))
            with publishes(Created, number=1) as inner:
                publish(Created(number=1))
        assert events == [Created(number=0), Created(number=1)]
        assert inner == [Created(number=1)]


class TestConsume:
    def test_it_takes_the_workers_path_and_returns_what_the_subscriber_returned(self):
        assert consume(shop.on_created, Created(number=1)) is None
        assert consume(shop.on_created, Created(number=1, ref="ignore")) is IGNORED
        assert shop.heard[0] == Created(number=1)
        assert shop.heard[0] is not Created(number=1)

    def test_what_it_raises_passes_through(self):
        with pytest.raises(Park, match="look"):
            consume(shop.on_created, Created(number=1, ref="park"))

    def test_it_need_not_be_subscribed(self):
        consume(shop.unsubscribed, Created(number=1))
        assert shop.heard == ["unsubscribed"]

    def test_another_event_than_its_own_is_refused(self):
        with pytest.raises(AssertionError, match="takes Created, not Finished"):
            consume(shop.on_created, Finished(number=1))

    def test_what_it_publishes_is_recorded_not_delivered(self):
        with published() as events:
            consume(shop.finish, Created(number=1))
        assert events == [Finished(number=1)]
        assert shop.heard == []

    def test_a_list_subscriber_gets_a_list(self):
        consume(shop.by_group, Created(number=1))
        assert shop.heard == [[1]]

    def test_an_atomic_one_runs_in_the_transaction_of_on(self, connection, ledger):
        consume(shop.book, Finished(number=1), on=connection)
        assert bookings(ledger) == 0
        connection.commit()
        assert bookings(ledger) == 1

    def test_an_atomic_one_runs_in_a_transaction_of_the_ledger(self, ledger):
        consume(shop.book, Finished(number=1))
        assert bookings(ledger) == 1

    def test_a_coroutine_is_run_or_awaited(self):
        consume(shop.on_finished, Finished(number=1))
        asyncio.run(aconsume(shop.on_finished, Finished(number=2)))
        asyncio.run(aconsume(shop.on_created, Created(number=3)))
        assert [each[0].number for each in shop.heard[:2]] == [1, 2]


class TestAssertSubscribed:
    def test_wired_condition_holds_and_handled_twice(self):
        assert_subscribed(shop.only_main, Created(number=1, ref="main"))
        assert shop.heard == ["main", "main"]

    def test_not_subscribed(self):
        with pytest.raises(
            AssertionError,
            match=r"unsubscribed is not subscribed to Created; who hears it: testing\.on_created",
        ):
            assert_subscribed(shop.unsubscribed, Created(number=1))

    def test_the_condition_refuses(self):
        with pytest.raises(AssertionError, match=r"its condition refuses.*\n  at .*shop\.py:\d+"):
            assert_subscribed(shop.only_main, Created(number=1))
        assert shop.heard == []

    def test_one_that_cannot_bear_the_same_event_twice(self):
        with pytest.raises(RuntimeError) as caught:
            assert_subscribed(shop.only_once, Created(number=1, ref="once"))
        assert "bear the same event twice" in caught.value.__notes__[0]

    def test_not_dispatched(self):
        assert_not_dispatched(shop.only_main, Created(number=1))
        with pytest.raises(AssertionError, match="its condition holds"):
            assert_not_dispatched(shop.only_main, Created(number=1, ref="main"))
        with pytest.raises(AssertionError, match="it has no condition"):
            assert_not_dispatched(shop.on_created, Created(number=1))
        with pytest.raises(AssertionError, match="is not subscribed"):
            assert_not_dispatched(shop.unsubscribed, Created(number=1))


class TestDeliverAll:
    def test_the_cascade_runs_until_quiet_delays_included(self, ledger):
        with published() as events:
            publish(Created(number=1, ref="finish"))
            assert deliver_all() == 4
            assert deliver_all() == 0
        assert events == [Created(number=1, ref="finish"), Finished(number=1)]
        assert shop.heard[-1] == (Finished(number=1), events.envelopes[0].id)
        assert bookings(ledger) == 1

    def test_a_group_is_one_call(self):
        with published():
            publish_many([Created(number=number, tags=("group",)) for number in range(3)])
            deliver_all()
        assert [each for each in shop.heard if isinstance(each, list)] == [[0, 1], [2]]

    def test_what_a_subscriber_raises_passes_through(self):
        with published(), pytest.raises(Park):
            publish(Created(number=1, ref="park"))
            deliver_all()

    def test_events_of_an_open_transaction_are_delivered_and_atomic_subscribers_join_it(
        self, connection, ledger
    ):
        with published():
            publish(Finished(number=1), on=connection)
            deliver_all()
            assert connection.execute("SELECT count(*) FROM booking").fetchone() == (1,)
            connection.rollback()
        assert bookings(ledger) == 0

    def test_events_that_were_rolled_back_are_not_delivered(self, connection):
        with published():
            publish(Created(number=1), on=connection)
            connection.rollback()
            assert deliver_all() == 0
        assert shop.heard == []

    def test_from_a_coroutine(self):
        async def main() -> int:
            publish(Created(number=1, ref="finish"))
            return await adeliver_all()

        with published():
            assert asyncio.run(main()) == 4

    def test_outside_published_it_says_how(self):
        with pytest.raises(AssertionError, match="works inside published"):
            deliver_all()

    def test_subscribers_that_answer_each_other_for_ever_are_stopped(self, ledger):
        from whereupon import EventStore, subscribe

        def echo(event: Created) -> None:
            publish(event)

        store = EventStore(subscriptions=[subscribe(echo, to=Created)], ledger=ledger)
        with using_store(store), published(), pytest.raises(AssertionError, match="answer each other"):
            publish(Created(number=1))
            deliver_all()


class TestWithUnittest(unittest.TestCase):
    def test_the_functions_work_in_a_test_case(self):
        with publishes(Created, number=1):
            publish(Created(number=1))
        with published() as events:
            publish(Created(number=2))
        self.assertEqual(events, [expected(Created, number=2)])  # noqa: PT009


PLUGIN = """
from whereupon import Event, publish
from whereupon.testing import expected

class Created(Event, name="shop.created"):
    number: int
    ref: str | None = None

def test_passes(published):
    publish(Created(number=1))
    assert published == [Created(number=1)]

def test_fails(published):
    publish(Created(number=1, ref="main"))
    assert published == [expected(Created, number=2, ref="main")]

def test_fails_with_nothing(published):
    assert published == [Created(number=1)]

async def test_in_a_coroutine(published):
    publish(Created(number=1))
    assert len(published) == 1
"""


def test_the_pytest_fixture_and_the_text_of_its_failures(pytester):
    pytester.makepyfile(PLUGIN)
    pytester.makeini("[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n")
    result = pytester.runpytest_subprocess("-q")
    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines(
        [
            "*published:",
            "*  Created(number=1, ref='main')",
            "*expected:",
            "*  Created(number=2, ref='main')",
            "*nearest to Created(number=2, ref='main'):",
            "*  number is 1, expected 2",
            "*published:",
            "*  nothing",
        ]
    )
