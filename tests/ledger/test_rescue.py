"""Deaths: who is blamed, who is tried alone, who is parked, and that neighbours go free."""

from __future__ import annotations

import os
import subprocess
import sys

from whereupon.deliveries import Done
from whereupon.engines.processes import born, dead, describe_process, place
from whereupon.ledger import rescue

A = "a.one:ci.created"


def flat(jobs):
    return [claim for job in jobs for claim in job]


def test_at_the_first_death_everything_in_hand_becomes_a_suspect(bench):
    for _ in range(3):
        bench.publish(A)
    worker = bench.worker()
    bench.claim(worker, A)
    rescued = bench.rescue(worker)
    assert rescued.suspects == (1, 2, 3)
    assert bench.rows("SELECT state, crashes, attempts FROM whereupon_delivery") == [("open", 1, 0)] * 3


def test_suspects_are_not_claimed_with_the_others_but_one_at_a_time(bench):
    for _ in range(2):
        bench.publish(A)
    worker = bench.worker()
    bench.claim(worker, A)
    bench.rescue(worker)
    bench.publish(A)
    other = bench.worker()
    assert [claim.delivery for claim in flat(bench.claim(other, A))] == [3]
    assert [claim.delivery for claim in bench.claim_suspect(other, A)] == [1]


def test_from_the_second_death_on_only_the_suspect_is_blamed(bench):
    bench.publish(A)
    worker = bench.worker()
    bench.claim(worker, A)
    bench.rescue(worker)
    for _ in range(2):
        bench.publish(A)
    worker = bench.worker()
    bench.claim(worker, A)
    bench.claim_suspect(worker, A)
    assert bench.rescue(worker).suspects == (1,)
    assert bench.rows("SELECT crashes FROM whereupon_delivery ORDER BY id") == [(2,), (0,), (0,)]


def test_the_last_chance_is_only_for_a_process_that_works_alone(bench):
    bench.publish(A)
    for _ in range(2):
        worker = bench.worker()
        bench.claim(worker, A)
        bench.claim_suspect(worker, A)
        bench.rescue(worker)
    worker = bench.worker()
    assert bench.claim_suspect(worker, A) == []
    (claim,) = bench.claim_suspect(worker, A, alone=True)
    assert claim.crashes == 2


def test_the_third_death_parks_with_a_history_of_all_three(bench):
    bench.publish(A)
    for alone in (False, False, True):
        worker = bench.worker()
        bench.claim(worker, A)
        bench.claim_suspect(worker, A, alone=alone)
        last = bench.rescue(worker)
    assert last.parked == (1,)
    row = bench.row(1)
    assert (row["state"], row["outcome"], row["crashes"], row["attempts"]) == ("parked", "crashes", 3, 0)
    assert row["history"].count("died") == row["history"].count('"attempt": null') == 3


def test_a_suspect_that_succeeds_is_done(bench):
    bench.publish(A)
    worker = bench.worker()
    bench.claim(worker, A)
    bench.rescue(worker)
    (claim,) = bench.claim_suspect(bench.worker(), A)
    assert bench.close(claim, Done()) == []
    assert bench.row(1)["state"] == "done"


def test_a_process_ended_on_purpose_blames_nobody(bench):
    bench.publish(A)
    worker = bench.worker()
    bench.claim(worker, A)
    assert bench.rescue(worker, blame=False).suspects == ()
    assert bench.row(1)["crashes"] == 0


def test_an_overrunning_handler_is_not_blamed_for_a_death(bench):
    from whereupon.ledger import claims

    for _ in range(2):
        bench.publish(A)
    worker = bench.worker()
    first, _ = flat(bench.claim(worker, A))
    with bench.transaction() as transaction:
        claims.mark_overrunning(transaction, first, "slow")
    assert bench.rescue(worker).suspects == (2,)


def test_a_rescue_may_be_repeated(bench):
    bench.publish(A)
    worker = bench.worker()
    bench.claim(worker, A)
    bench.rescue(worker)
    assert bench.rescue(worker).returned == 0
    assert bench.row(1)["crashes"] == 1


def test_a_lease_lapses_without_a_beat_and_not_with_one(bench):
    worker = bench.worker()
    bench.advance(9)
    with bench.transaction() as transaction:
        rescue.beat(transaction, [worker])
    bench.advance(9)
    with bench.transaction() as transaction:
        assert rescue.lapsed(transaction) == []
    bench.advance(1)
    with bench.transaction() as transaction:
        assert rescue.lapsed(transaction) == [worker]
        assert rescue.lease(transaction, worker) == transaction.now()


def test_a_beat_that_comes_before_the_rescue_saves_a_lapsed_worker(bench):
    bench.publish(A)
    worker = bench.worker()
    bench.claim(worker, A)
    bench.advance(10)
    with bench.transaction() as transaction:
        assert rescue.lapsed(transaction) == [worker]
    with bench.transaction() as transaction:
        rescue.beat(transaction, [worker])
    with bench.transaction() as transaction:
        assert rescue.rescue_lapsed(transaction, worker) is None
    assert bench.row(1)["state"] == "claimed"
    bench.advance(10)
    with bench.transaction() as transaction:
        assert rescue.rescue_lapsed(transaction, worker).returned == 1
        assert rescue.lease(transaction, worker) is None
    assert bench.row(1)["state"] == "open"


def test_a_beat_for_a_worker_that_is_forgotten_says_so(bench):
    worker = bench.worker()
    bench.rescue(worker)
    with bench.transaction() as transaction:
        assert rescue.beat(transaction, [worker]) == set()


def test_claims_under_a_name_that_no_worker_bears_are_found(bench):
    """For example in a ledger that was restored from a backup."""
    bench.publish(A)
    bench.claim("ghost", A)
    with bench.transaction() as transaction:
        assert rescue.lapsed(transaction) == ["ghost"]
    bench.rescue("ghost")
    assert bench.row(1)["state"] == "open"


def test_a_dead_process_is_recognised_and_a_living_one_is_not():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    processes = [describe_process("c", child.pid, "local"), describe_process("me", os.getpid(), "local")]
    assert dead(processes) == []
    child.kill()
    child.wait()
    child.stdin.close()
    assert [each.id for each in dead(processes)] == ["c"]


def test_a_zombie_counts_as_dead():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = describe_process("c", child.pid, "local")
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert dead([process]) == [process]
    child.wait()
    child.stdin.close()


def test_a_pid_that_was_given_to_another_process_is_not_taken_for_the_worker():
    mine = describe_process("me", os.getpid(), "local")
    assert born(os.getpid()) == mine.born
    imposter = rescue.Process("old", mine.host, mine.place, mine.pid, "1", "local")
    assert dead([imposter]) == [imposter]


def test_processes_of_other_hosts_are_never_judged_by_their_pid():
    assert place()
    assert dead([rescue.Process("far", "host", "elsewhere", 999_999, "1", "local")]) == []
    assert dead([rescue.Process("unknown", "host", "", 999_999, "1", "local")]) == []
