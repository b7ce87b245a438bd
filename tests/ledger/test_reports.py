"""Reading the ledger, retention, erasure, and what an operator may do by hand."""

from __future__ import annotations

from datetime import timedelta

import pytest

from whereupon.deliveries import Done, Parked, Retry
from whereupon.ledger import operators, reports, upkeep

A, B = "a.one:ci.created", "b.two:ci.created"
DAY = timedelta(days=1)


def take(bench, *ids):
    return [claim for job in bench.claim(bench.worker(), *ids) for claim in job]


def test_tallies_tell_what_became_of_the_deliveries(bench):
    for _ in range(5):
        bench.publish(A)
    first, second, third, fourth, _ = take(bench, A)
    bench.close(first, Done())
    bench.close(second, Done("ignored"))
    bench.close(third, Parked("attempts", "e"))
    bench.close(fourth, Retry(timedelta(0), "e"))
    bench.advance(2)
    with bench.transaction() as transaction:
        (tally,) = reports.tallies(transaction)
    assert (tally.handled, tally.ignored, tally.parked, tally.open, tally.claimed) == (1, 1, 1, 1, 1)
    assert tally.retried == 2
    assert tally.late == 2000


def test_what_waits_for_code_is_counted_by_subscription(bench):
    bench.publish(A, B)
    bench.publish(B)
    with bench.transaction() as transaction:
        assert reports.waiting_for_code(transaction, [A]) == {B: 2}


def test_the_oldest_overdue_delivery_is_found(bench):
    bench.publish(A)
    bench.publish(B, delay=1)
    bench.advance(5)
    with bench.transaction() as transaction:
        assert reports.oldest_open(transaction) == (A, bench.clock - 5000)


class TestPurge:
    def test_done_deliveries_go_after_retention_and_their_events_with_them(self, bench):
        bench.publish(A)
        (claim,) = take(bench, A)
        bench.close(claim, Done())
        bench.advance(DAY.total_seconds() - 1)
        assert self.purge(bench) == 0
        bench.advance(2)
        assert self.purge(bench) == 2
        assert bench.rows("SELECT * FROM whereupon_event") == []

    def test_what_is_open_claimed_or_parked_never_goes_by_time(self, bench):
        for _ in range(3):
            bench.publish(A)
        first, second, _ = take(bench, A)
        bench.close(first, Parked("attempts", "e"))
        bench.close(second, Retry(timedelta(0), "e"))
        bench.advance(1000 * DAY.total_seconds())
        assert self.purge(bench) == 0
        assert [row[1] for row in bench.rows()] == ["parked", "open", "claimed"]

    def test_an_event_stays_while_one_of_its_deliveries_does(self, bench):
        bench.publish(A, B)
        (claim,) = take(bench, A)
        bench.close(claim, Done())
        bench.advance(2 * DAY.total_seconds())
        assert self.purge(bench) == 1
        assert len(bench.rows("SELECT * FROM whereupon_event")) == 1

    def test_an_event_nobody_heard_goes_too(self, bench):
        bench.publish()
        bench.advance(2 * DAY.total_seconds())
        assert self.purge(bench) == 1

    def test_a_purge_goes_page_by_page(self, bench):
        for _ in range(upkeep.PAGE + 3):
            bench.publish(A)
        for claim in take_all(bench):
            bench.close(claim, Done())
        bench.advance(2 * DAY.total_seconds())
        assert self.purge(bench) == 2 * upkeep.PAGE, "a page of deliveries and a page of events"
        assert upkeep.purge_all(bench.transaction, DAY) == 6
        assert bench.rows() == []

    def purge(self, bench) -> int:
        with bench.transaction() as transaction:
            return upkeep.purge(transaction, DAY)


def take_all(bench):
    return [claim for job in bench.claim(bench.worker(), A, most=2000) for claim in job]


def test_erasure_by_subject_takes_everything_of_the_subject_and_nothing_else(bench):
    erased = bench.publish(A, B)
    bench.publish(A)
    with bench.transaction() as transaction:
        transaction.run("UPDATE whereupon_event SET subject = 'user-7' WHERE id = :id", {"id": erased})
        assert upkeep.erase(transaction, "user-7") == (1, 2)
    assert bench.rows() == [(3, "open")]


class TestOperators:
    @pytest.fixture
    def parked(self, bench):
        for _ in range(2):
            bench.publish(A)
        for claim in take(bench, A):
            bench.close(claim, Parked("attempts", "e"))

    @pytest.mark.usefixtures("parked")
    def test_a_retried_delivery_has_all_its_attempts_again(self, bench):
        with bench.transaction() as transaction:
            assert operators.retry_parked(transaction, [1]) == 1
        row = bench.row(1)
        assert (row["state"], row["attempts"], row["crashes"], row["outcome"]) == ("open", 0, 0, None)
        assert row["history"], "what happened is not forgotten"
        assert bench.row(2)["state"] == "parked"

    @pytest.mark.usefixtures("parked")
    def test_a_discarded_delivery_stays_on_record_until_retention(self, bench):
        with bench.transaction() as transaction:
            assert operators.discard_parked(transaction, [1, 2]) == 2
        assert bench.row(1)["outcome"] == "discarded"

    def test_only_parked_deliveries_can_be_retried_or_discarded(self, bench):
        bench.publish(A)
        bench.publish(B)
        (claim,) = take(bench, B)
        bench.close(claim, Done())
        with bench.transaction() as transaction:
            assert operators.retry_parked(transaction, [1, 2]) == 0
            assert operators.discard_parked(transaction, [1, 2]) == 0

    def test_a_replay_reopens_what_is_done_and_keeps_the_events_id(self, bench):
        event = bench.publish(A)
        (claim,) = take(bench, A)
        bench.close(claim, Done())
        with bench.transaction() as transaction:
            assert operators.replay(transaction, [event], A) == 1
        row = bench.row(1)
        assert (row["state"], row["event_id"], row["replays"]) == ("open", event, 1)

    def test_a_replay_to_a_new_subscription_makes_a_delivery(self, bench):
        event = bench.publish(A)
        with bench.transaction() as transaction:
            assert operators.replay(transaction, [event], B) == 1
        assert bench.row(2)["subscription"] == B

    def test_a_replay_leaves_what_is_open_or_claimed_alone(self, bench):
        event = bench.publish(A)
        with bench.transaction() as transaction:
            assert operators.replay(transaction, [event], A) == 0
        take(bench, A)
        with bench.transaction() as transaction:
            assert operators.replay(transaction, [event], A) == 0
        assert bench.row(1)["state"] == "claimed"

    def test_events_are_found_by_name_and_time(self, bench):
        bench.publish(A)
        bench.advance(10)
        later = bench.publish(A)
        with bench.transaction() as transaction:
            assert operators.events_named(transaction, ["ci.created"], bench.clock) == [later]
            assert operators.events_named(transaction, ["ci.other"], 0) == []
