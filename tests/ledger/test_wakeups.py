"""Of which due deliveries an engine is told, on both databases."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta

from whereupon.deliveries import Done, Released, Retry
from whereupon.ledger import claims, wakeups


def flat(jobs):
    return [claim for job in jobs for claim in job]


A, B, C = "a.one:x.made", "a.two:x.made", "a.three:x.made"


def unsent(bench, *ids: str, most: int = 100) -> list[wakeups.Due]:
    with bench.transaction() as transaction:
        found = wakeups.unsent(transaction, ids, most)
        assert wakeups.is_any_unsent(transaction, ids) == bool(found)
    return found


def send(bench, *ids: str, most: int = 100) -> list[int]:
    """Mark what is unsent, and return the deliveries that are woken for it."""
    found = unsent(bench, *ids, most=most)
    with bench.transaction() as transaction:
        wakeups.take_turns(transaction)
        wakeups.mark(transaction, found)
    return [each.delivery for each in found]


def outstanding(bench, *ids: str) -> dict[int, int]:
    with bench.transaction() as transaction:
        return wakeups.outstanding(transaction, ids)


def claim(bench, worker: str, *deliveries: int, known: tuple[str, ...] = (A, B)):
    with bench.transaction() as transaction:
        return claims.claim_woken(transaction, worker, deliveries, known)


def test_what_is_due_is_sent_once_and_is_outstanding_until_it_is_claimed(bench):
    for _ in range(3):
        bench.publish(A)
    assert send(bench, A, B) == [1, 2, 3]
    assert send(bench, A, B) == []
    assert outstanding(bench, A) == dict.fromkeys((1, 2, 3), bench.clock)
    (claimed,) = flat(claim(bench, bench.worker(), 2))
    assert set(outstanding(bench, A)) == {1, 3}
    assert bench.close(claimed, Done()) == []
    assert outstanding(bench, B) == {}


def test_what_is_not_due_or_of_somebody_else_is_not_sent(bench):
    bench.publish(A, delay=60)
    bench.publish(C)
    assert send(bench, A, B) == []
    bench.advance(60)
    assert send(bench, A, B) == [1]


def test_the_first_subscriptions_come_first_and_the_bound_is_kept(bench):
    for _ in range(3):
        bench.publish(A, B)
    assert [(each.delivery, each.subscription) for each in unsent(bench, B, A, most=4)] == [
        (2, B), (4, B), (6, B), (1, A),
    ]  # fmt: skip


def test_a_group_is_woken_by_its_first_delivery_and_claimed_whole(bench):
    for _ in range(3):
        bench.publish(A, group="g")
    bench.publish(A)
    found = unsent(bench, A)
    assert [(each.delivery, each.stands_for) for each in found] == [(1, (1, 2, 3)), (4, (4,))]
    assert send(bench, A) == [1, 4]
    assert set(outstanding(bench, A)) == {1, 2, 3, 4}
    jobs = claim(bench, bench.worker(), 1)
    assert [[each.delivery for each in job] for job in jobs] == [[1, 2, 3]]
    assert set(outstanding(bench, A)) == {4}


def test_what_opens_again_is_sent_again_when_it_is_due(bench):
    bench.publish(A)
    bench.publish(A)
    worker = bench.worker()
    send(bench, A)
    first, second = flat(claim(bench, worker, 1, 2))
    bench.close(first, Retry(timedelta(seconds=30), "no"))
    bench.close(second, Released())
    assert send(bench, A) == [2]
    bench.advance(30)
    assert send(bench, A) == [1]


def test_what_was_lost_is_forgotten_and_sent_again_and_a_claimed_one_is_not(bench):
    for _ in range(3):
        bench.publish(A)
    send(bench, A)
    claim(bench, bench.worker(), 1)
    with bench.transaction() as transaction:
        assert wakeups.forget(transaction, [1, 2]) == 1
    assert send(bench, A) == [2]


def test_what_another_relay_has_sent_again_is_not_forgotten(bench):
    bench.publish(A)
    send(bench, A)
    seen = outstanding(bench, A)
    bench.advance(30)
    for forgotten in (1, 0):
        with bench.transaction() as transaction:
            assert wakeups.forget(transaction, [1], until=seen[1]) == forgotten
        send(bench, A)
    assert outstanding(bench, A) == {1: bench.clock}


def test_what_is_recalled_is_the_last_that_was_sent(bench):
    for each in (A, A, B):
        bench.publish(each)
    worker = bench.worker()
    claim(bench, worker, 1)
    bench.advance(5)
    bench.rescue(worker)  # so that it is due last, and sent first
    assert send(bench, A, B) == [1, 2, 3]
    with bench.transaction() as transaction:
        recalled = [wakeups.recall_latest(transaction, [A, B]) for _ in range(4)]
    assert [each and each.delivery for each in recalled] == [3, 2, 1, None]


def test_what_was_claimed_since_it_was_sent_is_told_from_what_was_only_forgotten(bench):
    for _ in range(3):
        bench.publish(A)
    worker = bench.worker()
    (early,) = flat(claim(bench, worker, 1))
    bench.close(early, Retry(timedelta(0), "no"))
    bench.advance(1)
    send(bench, A)
    sent = outstanding(bench, A)
    claim(bench, worker, 2)
    with bench.transaction() as transaction:
        wakeups.forget(transaction, [1, 3])
        assert wakeups.claimed(transaction, sent) == [2]


def test_a_claim_by_id_takes_only_what_is_open_due_and_known(bench):
    worker = bench.worker()
    bench.publish(A)
    bench.publish(A, delay=60)
    bench.publish(C)
    assert flat(claim(bench, worker, 2, 3, 99)) == []
    (claimed,) = flat(claim(bench, worker, 1))
    assert flat(claim(bench, worker, 1)) == []
    bench.close(claimed, Done())
    assert flat(claim(bench, worker, 1)) == []


def test_a_suspect_is_sent_and_one_on_its_last_chance_is_not(bench):
    bench.publish(A)
    for crashes, sent in ((0, [1]), (1, [1]), (2, [])):
        assert bench.row(1)["crashes"] == crashes
        assert send(bench, A) == sent
        worker = bench.worker()
        if sent:
            assert len(flat(claim(bench, worker, 1))) == 1
            bench.rescue(worker)
    assert flat(claim(bench, bench.worker(), 1)) == []


def test_two_jobs_that_name_one_delivery_claim_it_once(bench):
    bench.publish(A)
    worker = bench.worker()
    with bench.transaction() as transaction:  # by the real clock, which these connections have
        transaction.run("UPDATE whereupon_delivery SET due_at = 0")
    with closing(bench.ledger.connect()) as first, closing(bench.ledger.connect()) as second:
        with first.transaction() as one:
            assert len(flat(claims.claim_woken(one, worker, [1], [A]))) == 1
            if one.dialect.name == "postgresql":  # SQLite would wait for the lock
                with second.transaction() as other:
                    assert claims.claim_woken(other, worker, [1], [A]) == []
        with second.transaction() as other:
            assert claims.claim_woken(other, worker, [1], [A]) == []
