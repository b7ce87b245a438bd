"""Closes and claims in one go: the same answers from one statement on PostgreSQL and from steps on SQLite."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest

from whereupon.deliveries import Close, Done, Retry
from whereupon.ledger import claims, rescue, wakeups
from whereupon.ledger.exchange import exchange

A, B = "a.one:x.made", "a.two:x.made"


@pytest.fixture
def now(bench):
    """The ledger's own clock counts here, as the statement asks for it by itself."""
    with bench.ledger.transaction() as transaction:
        bench.clock = transaction.now()
    return bench


def exchanged(bench, worker, *deliveries, closes=(), known=(A, B)):
    with closing(bench.ledger.connect()) as connection, connection.single() as transaction:
        return exchange(transaction, worker, closes, deliveries, known)


def flat(found) -> list[int]:
    return [claim.delivery for job in found.jobs for claim in job]


def test_what_is_named_is_claimed_with_its_event_and_no_longer_outstanding(now):
    event = now.publish(A, data={"number": 1})
    now.publish(B)
    with now.transaction() as transaction:
        wakeups.mark(transaction, wakeups.unsent(transaction, [A, B], 10))
    worker = now.worker()
    found = exchanged(now, worker, 1, 1, 77)
    ((claim,),) = found.jobs
    assert (found.is_known, found.lost) == (True, [])
    assert (claim.delivery, claim.event_id, claim.subscription, claim.attempts) == (1, event, A, 0)
    assert claim.envelope
    assert (now.row(1)["state"], now.row(1)["worker"]) == ("claimed", worker)
    with now.transaction() as transaction:
        assert set(wakeups.outstanding(transaction, [A, B])) == {2}
    assert flat(exchanged(now, worker, 1)) == []


def test_what_is_not_due_unknown_or_on_its_last_chance_is_left_out(now):
    now.publish(A, delay=60)
    now.publish("somebody.else:x.made")
    now.publish(A)
    with now.transaction() as transaction:
        transaction.run(
            "UPDATE whereupon_delivery SET crashes = :alone WHERE id = 3", {"alone": claims.ALONE_FROM}
        )
    assert flat(exchanged(now, now.worker(), 1, 2, 3)) == []


def test_a_named_delivery_stands_for_its_group(now):
    with now.transaction() as transaction:
        due = transaction.now() - 1000
    for _ in range(3):
        now.publish(A, group="g")
    now.publish(A)
    now.publish(A, group="other")
    with now.transaction() as transaction:
        transaction.run("UPDATE whereupon_delivery SET due_at = :due", {"due": due})
    found = exchanged(now, now.worker(), 2, 4)
    assert sorted([each.delivery for each in job] for job in found.jobs) == [[1, 2, 3], [4]]
    assert now.row(5)["state"] == "open"


def test_closes_leave_with_a_claim_and_a_second_time_does_no_harm(now):
    for _ in range(3):
        now.publish(A)
    worker = now.worker()
    ((first,), (second,)) = exchanged(now, worker, 1, 2).jobs
    closes = [Close(first, Done()), Close(second, Done("ignored"))]
    found = exchanged(now, worker, 3, closes=closes)
    assert (flat(found), found.lost) == ([3], [])
    assert [now.row(each)["outcome"] for each in (1, 2)] == ["handled", "ignored"]
    assert now.row(1)["done_at"] >= now.clock
    again = exchanged(now, worker, closes=closes)
    assert (again.is_known, again.jobs, again.lost) == (True, [], [])


def test_a_close_that_comes_too_late_is_told(now):
    now.publish(A)
    worker = now.worker()
    ((claim,),) = exchanged(now, worker, 1).jobs
    now.rescue(worker, blame=False)
    found = exchanged(now, worker, 1, closes=[Close(claim, Done())])
    assert (found.is_known, found.jobs) == (False, [])
    assert [each.claim for each in found.lost] == [claim]
    assert now.row(1)["state"] == "open"


def test_a_payload_that_has_been_refused_says_for_how_long(now):
    now.publish(A)
    worker = now.worker()
    with now.transaction() as transaction:
        transaction.run("UPDATE whereupon_delivery SET refused_at = :since", {"since": now.clock - 5000})
    ((claim,),) = exchanged(now, worker, 1).jobs
    assert 4 < claim.refused_for.total_seconds() < 60
    now.close(claim, Retry(claim.refused_for, "no"))
    assert flat(exchanged(now, worker, 1)) == []


def test_of_many_who_name_the_same_each_delivery_goes_to_one(now):
    """Also while a relay writes on the same rows."""
    count = 200
    for _ in range(count):
        now.publish(A)
    taken: list[int] = []
    failed: list[BaseException] = []

    def work():
        worker, closes = now.worker(), []
        with closing(now.ledger.connect()) as connection:
            for delivery in range(1, count + 1):
                with connection.single() as transaction:
                    found = exchange(transaction, worker, closes, [delivery, delivery + 1], [A])
                assert found.lost == []
                taken.extend(flat(found))
                closes = [Close(claim, Done()) for job in found.jobs for claim in job]
            with connection.single() as transaction:
                assert exchange(transaction, worker, closes, [], [A]).lost == []

    def relay():
        with closing(now.ledger.connect()) as connection:
            for _ in range(50):
                with connection.transaction() as transaction:
                    wakeups.mark(transaction, wakeups.unsent(transaction, [A], 20))
                with connection.transaction() as transaction:
                    wakeups.forget(transaction, list(wakeups.outstanding(transaction, [A])))

    def guarded(function):
        try:
            function()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=guarded, args=[each]) for each in (work, work, work, relay)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert failed == []
    assert len(taken) == len(set(taken))
    assert {delivery for delivery, state in now.rows() if state == "done"} == set(taken)
    left = flat(exchanged(now, now.worker(), *range(1, count + 1)))  # what a relay was writing on
    assert len(left) < count / 4
    assert sorted([*taken, *left]) == list(range(1, count + 1))


def test_a_worker_that_is_being_rescued_waits_for_the_rescue(now):
    if now.ledger.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    now.publish(A)
    now.publish(A)
    worker = now.worker()
    ((claim,),) = exchanged(now, worker, 1).jobs
    answers = []
    with now.transaction() as transaction:
        rescue.rescue(transaction, worker, blame=False)
        thread = threading.Thread(
            target=lambda: answers.append(exchanged(now, worker, 2, closes=[Close(claim, Done())]))
        )
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
    thread.join()
    (found,) = answers
    assert (found.is_known, found.jobs, [each.claim for each in found.lost]) == (False, [], [claim])


def test_the_rows_are_found_by_their_id_whatever_the_statistics_say(now):
    """A partial index is long where an old snapshot is held, and its statistics are of another moment."""
    if now.ledger.dialect.name == "sqlite":
        pytest.skip("the planner of PostgreSQL is meant")
    from whereupon.ledger import exchange as module

    now.publish(A)
    parameters = {
        "worker": "x", "token": 1, "below": 2, "ids": [1], "subscriptions": [A], "ended": [1], "tokens": [1],
        "outcomes": ["handled"],
    }  # fmt: skip
    with now.transaction() as transaction:
        transaction.run("SET LOCAL enable_seqscan = off")
        plan = "\n".join(row[0] for row in transaction.rows(f"EXPLAIN {module._CLOSE_AND_CLAIM}", parameters))
    assert "whereupon_delivery_claimed" not in plan
    assert "whereupon_delivery_woken" not in plan
    assert plan.count("whereupon_delivery_pkey on whereupon_delivery") >= 2, plan
