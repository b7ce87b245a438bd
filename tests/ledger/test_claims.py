"""Claiming and closing: order, fairness, groups, failures, and statements that never scan."""

from __future__ import annotations

import re
import sqlite3
from datetime import timedelta

import pytest

from whereupon.deliveries import Done, Parked, Released, Retry, Waiting
from whereupon.ledger import claims, due, rescue
from whereupon.ledger.dialect import SQLITE
from whereupon.ledger.schema import migration_sql

A, B, C = "a.one:ci.created", "b.two:ci.created", "c.three:ci.created"


def flat(jobs):
    return [claim for job in jobs for claim in job]


def test_a_claim_takes_only_what_is_due(bench):
    bench.publish(A)
    bench.publish(A, delay=60)
    worker = bench.worker()
    assert len(flat(bench.claim(worker, A))) == 1
    bench.advance(61)
    assert len(flat(bench.claim(worker, A))) == 1


def test_a_worker_claims_only_subscriptions_it_names(bench):
    bench.publish(A, B)
    (claim,) = flat(bench.claim(bench.worker(), B))
    assert claim.subscription == B
    assert bench.rows() == [(1, "open"), (2, "claimed")]


def test_the_oldest_goes_first(bench):
    first = bench.publish(A)
    bench.advance(1)
    bench.publish(A)
    (claim,) = flat(bench.claim(bench.worker(), A, most=1))
    assert claim.event_id == first


def test_a_delivery_is_claimed_once(bench):
    bench.publish(A)
    assert len(flat(bench.claim(bench.worker(), A))) == 1
    assert flat(bench.claim(bench.worker(), A)) == []


def test_subscriptions_of_one_priority_take_turns_whatever_their_backlog(bench):
    for _ in range(20):
        bench.publish(A)
    bench.advance(1)
    bench.publish(B)
    taken = [claim.subscription for claim in flat(bench.claim(bench.worker(), A, B, most=4))]
    assert sorted(taken) == [A, A, A, B]


def test_high_priority_goes_before_a_backlog_of_low(bench):
    for _ in range(20):
        bench.publish(A)
    bench.advance(1)
    bench.publish(B)
    wanted = [claims.Wanted((A,), 2, 10), claims.Wanted((B,), 0, 10)]
    with bench.transaction() as transaction:
        jobs = claims.claim(transaction, bench_worker(bench, transaction), wanted, claims.Budget(0.0, 1, 1))
    assert [claim.subscription for claim in flat(jobs)] == [B]


def bench_worker(bench, transaction):
    name = "w" * 32
    process = rescue.Process(name, "host", "place", 1, "1", "local")
    rescue.register(transaction, process)
    return name


def test_a_budget_of_seconds_stops_a_claim_but_not_below_what_is_idle(bench):
    for _ in range(10):
        bench.publish(A)
    worker = bench.worker()
    with bench.transaction() as transaction:
        jobs = claims.claim(
            transaction, worker, [claims.Wanted((A,), 1, 10, seconds=1.0)], claims.Budget(2.0, 4, 10)
        )
    assert len(jobs) == 4
    with bench.transaction() as transaction:
        jobs = claims.claim(
            transaction, worker, [claims.Wanted((A,), 1, 10, seconds=1.0)], claims.Budget(2.5, 0, 10)
        )
    assert len(jobs) == 3


def test_aliases_of_a_subscription_find_its_old_deliveries(bench):
    bench.publish(A)
    with bench.transaction() as transaction:
        jobs = claims.claim(
            transaction,
            bench_worker(bench, transaction),
            [claims.Wanted((B, A), 1, 5)],
            claims.Budget(0, 5, 5),
        )
    assert [claim.subscription for claim in flat(jobs)] == [A]


def test_a_group_is_claimed_whole_as_one_job(bench):
    ids = [bench.publish(A, group="g") for _ in range(3)]
    bench.publish(A, group="h")
    jobs = bench.claim(bench.worker(), A, most=1, group_size=2)
    assert [[claim.event_id for claim in job] for job in jobs] == [ids]


def test_a_retry_leaves_its_group(bench):
    for _ in range(2):
        bench.publish(A, group="g")
    (job,) = bench.claim(bench.worker(), A, group_size=5)
    bench.close(job[0], Retry(timedelta(0), "error"))
    bench.close(job[1], Released())
    assert [row[1] for row in bench.rows("SELECT id, group_id FROM whereupon_delivery ORDER BY id")] == [
        None,
        "g",
    ]
    assert len(bench.claim(bench.worker(), A, group_size=5)) == 2


def test_a_failed_attempt_is_counted_dated_and_remembered(bench):
    bench.publish(A)
    (claim,) = flat(bench.claim(bench.worker(), A))
    bench.close(claim, Retry(timedelta(seconds=90), "ValueError: no"))
    row = bench.row(1)
    assert (row["state"], row["attempts"], row["error"]) == ("open", 1, "ValueError: no")
    assert row["due_at"] == bench.clock + 90_000
    assert '"attempt": 1' in row["history"]


def test_the_history_keeps_the_last_failures_only(bench):
    bench.publish(A)
    worker = bench.worker()
    for number in range(25):
        (claim,) = flat(bench.claim(worker, A))
        bench.close(claim, Retry(timedelta(0), f"error {number}"))
    history = bench.row(1)["history"]
    assert "error 24" in history
    assert "error 5" in history
    assert '"error 4"' not in history


def test_a_released_delivery_is_as_if_never_claimed(bench):
    bench.publish(A)
    (claim,) = flat(bench.claim(bench.worker(), A))
    assert bench.close(claim, Released()) == []
    row = bench.row(1)
    assert (row["state"], row["attempts"], row["crashes"], row["history"]) == ("open", 0, 0, None)


def test_a_payload_that_waits_remembers_since_when(bench):
    bench.publish(A)
    worker = bench.worker()
    (claim,) = flat(bench.claim(worker, A))
    assert claim.refused_for is None
    bench.close(claim, Waiting(timedelta(seconds=15), "refused"))
    bench.advance(15)
    (claim,) = flat(bench.claim(worker, A))
    assert claim.refused_for == timedelta(seconds=15)
    bench.close(claim, Waiting(timedelta(seconds=15), "refused"))
    bench.advance(20)
    (claim,) = flat(bench.claim(worker, A))
    assert claim.refused_for == timedelta(seconds=35)
    assert bench.row(1)["attempts"] == 0


def test_an_overrunning_attempt_is_counted_once_and_its_success_still_counts(bench):
    bench.publish(A, B)
    worker = bench.worker()
    first, second = flat(bench.claim(worker, A, B))
    for claim in (first, second):
        with bench.transaction() as transaction:
            assert claims.mark_overrunning(transaction, claim, "too slow")
    assert bench.close(first, Done()) == []
    assert bench.close(second, Retry(timedelta(0), "too slow", spends=False)) == []
    rows = bench.rows("SELECT state, attempts, overrunning FROM whereupon_delivery ORDER BY subscription")
    assert rows == [("done", 1, 0), ("open", 1, 0)]


def test_a_close_with_an_old_token_changes_nothing_and_is_reported(bench):
    bench.publish(A)
    old = bench.worker()
    (claim,) = flat(bench.claim(old, A))
    bench.rescue(old)
    for result in (Done(), Retry(timedelta(0), "e"), Parked("attempts", "e"), Released()):
        assert [close.claim for close in bench.close(claim, result)] == [claim]
    assert bench.row(1)["state"] == "open"


def test_many_closes_report_exactly_the_lost_ones(bench):
    from whereupon.deliveries import Close

    for _ in range(5):
        bench.publish(A)
    worker = bench.worker()
    taken = flat(bench.claim(worker, A))
    with bench.transaction() as transaction:
        transaction.run("UPDATE whereupon_delivery SET token = 1 WHERE id = 3")
        lost = claims.close(transaction, [Close(claim, Done()) for claim in taken])
    assert [close.claim.delivery for close in lost] == [3]
    assert [row[1] for row in bench.rows()] == ["done", "done", "claimed", "done", "done"]


def test_next_due_is_the_earliest_of_the_named_subscriptions(bench):
    bench.publish(A, delay=30)
    bench.publish(B, delay=10)
    with bench.transaction() as transaction:
        assert due.next_due(transaction, [A]) == bench.clock + 30_000
        assert due.next_due(transaction, [A, B]) == bench.clock + 10_000
        assert due.next_due(transaction, [C]) is None


HOT = {
    name: sql
    for module in (claims, due, rescue)
    for name, sql in vars(module).items()
    if name.startswith("_")
    and isinstance(sql, str)
    and re.match(r"\s*(SELECT|UPDATE|DELETE)\b", sql)
    and not name.endswith("_OF_EACH")  # these are for PostgreSQL
}


@pytest.mark.parametrize("name", sorted(HOT))
def test_no_statement_of_the_worker_scans_a_table_that_grows(name):
    connection = sqlite3.connect(":memory:")
    for statement in migration_sql(0):
        connection.execute(SQLITE.render(statement))
    sql = SQLITE.render(HOT[name])
    parameters = dict.fromkeys(re.findall(r":([a-z_]+)", sql), "1")
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", parameters)]
    connection.close()
    partial = ("whereupon_delivery_suspect", "whereupon_delivery_claimed", "whereupon_worker", "json_each")
    scans = [step for step in plan if step.startswith("SCAN") and not any(each in step for each in partial)]
    assert scans == []


def test_a_worker_with_floors_steps_over_what_is_done_and_finds_what_came_late(bench, monkeypatch):
    floors = due.Floors()
    worker = bench.worker()

    def claimed() -> list[int]:
        with bench.transaction() as transaction:
            floors.renew()
            jobs = claims.claim(
                transaction, worker, [claims.Wanted((A,), 1, 10)], claims.Budget(0.0, 10, 10), floors
            )
        return [each.delivery for job in jobs for each in job]

    bench.publish(A)
    assert claimed() == [1]
    bench.advance(10)
    assert claimed() == []
    bench.publish(A)  # in a transaction that began a while ago, and commits only now
    bench.publish(A)
    with bench.transaction() as transaction:
        transaction.run("UPDATE whereupon_delivery SET due_at = due_at - 5000 WHERE id = 2")
    assert claimed() == [3]
    monkeypatch.setattr(due.Floors, "WHOLE", 0.0)
    floors._whole_at = 0.0
    assert claimed() == [2]
