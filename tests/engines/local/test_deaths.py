"""Killed, stopped, stuck and poisoned: what a worker's death costs, and what it does not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from whereupon import publish, publish_many
from whereupon.ledger import reports, rescue

pytestmark = pytest.mark.slow


def lost_nothing(app, subscriber: str, numbers) -> None:
    """Every event of the log's oracle is done, and the ledger agrees."""
    done = app.count("done", subscriber)
    assert sorted(done) == sorted(numbers)
    assert app.parked() == []
    assert app.unfinished() == 0


def test_a_poison_event_among_a_thousand_is_parked_after_three_deaths_and_its_neighbours_go_free(make_app):
    app = make_app()
    publish_many([app.module.Created(number=n, what="exit" if n == 500 else "") for n in range(1001)])
    worker = app.start()
    app.until_quiet(30)
    (parked,) = app.parked()
    assert (parked.outcome, parked.crashes, parked.attempts) == ("crashes", 3, 0)
    assert app.count("start", "plain")[500] == 3
    assert sorted(app.count("done", "plain")) == [n for n in range(1001) if n != 500]
    deaths = app.output().count("ended with status 9")
    assert deaths == 3
    assert max(app.count("done", "plain").values()) <= 2, (
        "a neighbour ran again only if it was not yet closed"
    )
    assert app.stop(worker) == 0


def test_two_poison_events_do_not_park_a_third_one(make_app):
    app = make_app()
    publish_many([app.module.Created(number=n, what="exit" if n in (3, 7) else "") for n in range(12)])
    app.start()
    app.until_quiet(30)
    assert sorted(each.outcome for each in app.parked()) == ["crashes", "crashes"]
    assert sorted(app.count("done", "plain")) == [n for n in range(12) if n not in (3, 7)]


def test_a_worker_killed_in_a_handler_is_relieved_by_another_within_three_seconds(make_app):
    app = make_app()
    app.start()
    app.until(lambda: len(app.children()) == 1)
    (victim,) = app.children()
    app.start()
    app.until(lambda: len(app.children()) == 2)
    publish(app.module.Created(number=1, what="sleep 1.5"))
    app.until(lambda: app.count("start", "plain") == {1: 1})
    holder = int(app.log()[0][3])
    killed = time.monotonic()
    os.kill(holder, signal.SIGKILL)
    app.until(lambda: app.count("start", "plain") == {1: 2})
    first, second = app.times("start", "plain", 1)
    assert second - killed < 3
    app.until_quiet()
    assert app.count("done", "plain") == {1: 1}
    with app.store.ledger.reading() as transaction:
        ((event,),) = transaction.rows("SELECT id FROM whereupon_event")
        (delivery,) = reports.deliveries(transaction, event)
    assert (delivery.state, delivery.attempts, delivery.crashes) == ("done", 0, 1)


def test_a_supervisor_that_is_killed_with_its_children_is_found_dead_by_a_peer_within_three_seconds(make_app):
    app = make_app()
    first = app.start()
    app.until(lambda: len(app.children()) == 1)
    publish(app.module.Created(number=1, what="sleep 2"))
    app.until(lambda: app.count("start", "plain") == {1: 1})
    (child,) = app.children()
    app.start()
    app.until(lambda: len(app.children()) == 2)
    killed = time.monotonic()
    first.kill()
    os.kill(child, signal.SIGKILL)
    app.until(lambda: app.count("start", "plain") == {1: 2})
    assert app.times("start", "plain", 1)[1] - killed < 3
    app.until_quiet()
    lost_nothing(app, "plain", [1])


def test_children_end_when_their_supervisor_is_killed(make_app):
    app = make_app()
    worker = app.start("--processes", "2")
    app.until(lambda: len(app.children()) == 2)
    children = app.children()
    worker.kill()
    worker.wait()
    app.until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), seconds=5)


def test_without_a_peer_what_an_orphan_could_not_finish_is_handed_back(make_app):
    app = make_app()
    worker = app.start()
    publish(app.module.Created(number=1, what="sleep 60"))
    app.until(lambda: app.count("start", "plain") == {1: 1})
    worker.kill()
    worker.wait()
    app.until(lambda: app.children() == [], seconds=8)
    with app.store.ledger.reading() as transaction:
        assert transaction.rows("SELECT state, crashes, attempts FROM whereupon_delivery") == [("open", 0, 0)]


def test_a_handler_that_holds_the_gil_for_five_leases_is_not_run_twice(make_app):
    app = make_app(LEASE="4000")
    app.start()
    app.start()
    app.until(lambda: len(app.children()) == 2)
    publish(app.module.Created(number=1, what="gil 20"))
    app.until_quiet(60)
    assert app.count("start", "plain") == {1: 1}
    (started,), (done,) = app.times("start", "plain", 1), app.times("done", "plain", 1)
    assert done - started >= 20


def test_while_nobody_could_write_no_worker_is_robbed(make_app):
    """No beat of anybody gets through for three leases; then the peers must not be quicker than the beats."""
    app = make_app(LEASE="2000")
    app.start()
    publish(app.module.Created(number=1, what="sleep 9"))
    app.until(lambda: app.count("start", "plain") == {1: 1})
    for _ in range(3):
        app.start()
    app.until(lambda: len(app.children()) == 4)
    with app.store.ledger.transaction() as transaction:
        if transaction.dialect.name == "postgresql":
            transaction.run("LOCK TABLE whereupon_worker IN EXCLUSIVE MODE")
        time.sleep(6)
    app.until_quiet(30)
    assert app.count("start", "plain") == {1: 1}
    assert app.count("done", "plain") == {1: 1}
    assert [len(app.children()), "took back" in "".join(map(app.output, range(4)))] == [4, False]


def test_a_worker_that_was_stopped_beyond_its_lease_closes_nothing(make_app):
    app = make_app(LEASE="2000")
    app.start()
    app.until(lambda: len(app.children()) == 1)
    publish(app.module.Created(number=1, what="sleep 0.5"))
    app.until(lambda: app.count("start", "plain") == {1: 1})
    (stopped,) = app.children()
    os.kill(stopped, signal.SIGSTOP)
    app.start()
    app.until(lambda: app.count("done", "plain") == {1: 1}, 20)
    second = {int(line[3]) for line in app.log() if line[0] == "done"}
    assert stopped not in second
    app.until_quiet()  # the other one closes a moment after its handler has ended
    with app.store.ledger.reading() as transaction:
        before = transaction.rows("SELECT state, done_at, token FROM whereupon_delivery")
    os.kill(stopped, signal.SIGCONT)
    app.until(lambda: not Path(f"/proc/{stopped}").exists(), 10)
    with app.store.ledger.reading() as transaction:
        assert transaction.rows("SELECT state, done_at, token FROM whereupon_delivery") == before
    app.until_quiet()


def test_sigterm_lets_running_handlers_finish_and_hands_back_the_rest(make_app):
    app = make_app("narrow")
    publish_many([app.module.Created(number=n) for n in range(60)])
    worker = app.start()
    app.until(lambda: len(app.count("done", "narrow")) > 4)
    assert app.stop(worker) == 0
    assert app.count("start", "narrow") == app.count("done", "narrow"), "nothing was cut off"
    with app.store.ledger.reading() as transaction:
        rows = transaction.rows(
            "SELECT state, sum(attempts + crashes) FROM whereupon_delivery GROUP BY state"
        )
        assert {row[0] for row in rows} == {"done", "open"}
        assert sum(row[1] for row in rows) == 0
        assert rescue.processes(transaction) == []
    app.start()
    app.until_quiet()
    assert app.count("start", "narrow") == dict.fromkeys(range(60), 1)


def test_a_second_signal_ends_it_at_once_and_blames_nobody(make_app):
    app = make_app("plain,coroutine")
    worker = app.start()
    publish(app.module.Created(number=1, what="sleep 60"))
    app.until(lambda: len(app.log()) == 2)
    worker.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert worker.poll() is None
    started = time.monotonic()
    assert app.stop(worker, signal.SIGINT) == 0
    assert time.monotonic() - started < 5
    with app.store.ledger.reading() as transaction:
        assert transaction.rows("SELECT DISTINCT state, attempts, crashes FROM whereupon_delivery") == [
            ("open", 0, 0)
        ]


def test_the_grace_is_kept_and_then_it_hands_back(make_app):
    app = make_app()
    worker = app.start("--grace", "0.5")
    publish(app.module.Created(number=1, what="sleep 60"))
    app.until(lambda: app.count("start", "plain") == {1: 1})
    started = time.monotonic()
    assert app.stop(worker) == 0
    assert 0.4 < time.monotonic() - started < 8
    with app.store.ledger.reading() as transaction:
        assert transaction.rows("SELECT state, attempts, crashes FROM whereupon_delivery") == [("open", 0, 0)]


def test_many_publishers_and_two_workers_on_one_file(make_app):
    """A thousand publishes from four processes while two workers run: no error, every delivery done once."""
    app = make_app("plain,coroutine")
    for _ in range(2):
        app.start()
    script = textwrap.dedent("""
        import sys
        from whereupon import publish
        from tests.engines.local import worker_app
        worker_app.store.install()
        first = int(sys.argv[1])
        for number in range(first, first + 250):
            publish(worker_app.Created(number=number))
    """)
    publishers = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(first)], env=app.environment, stderr=subprocess.PIPE, text=True
        )
        for first in (0, 250, 500, 750)
    ]
    for publisher in publishers:
        _, errors = publisher.communicate(timeout=60)
        assert (publisher.returncode, errors) == (0, "")
    app.until_quiet(40)
    for name in ("plain", "coroutine"):
        assert app.count("done", name) == dict.fromkeys(range(1000), 1)
    for number in range(2):
        assert "ERROR" not in app.output(number), app.output(number)


def test_a_store_that_cannot_be_imported_ends_the_worker_with_one_error(make_app):
    app = make_app()
    worker = app.start("--store", "tests.engines.local.worker_app:stor")
    assert worker.wait(timeout=20) == 1
    assert "did you mean 'store'?" in app.output()
    assert "Traceback" not in app.output()


def test_children_that_die_at_once_again_and_again_end_the_worker(make_app):
    app = make_app()
    (app.folder / "dying.py").write_text(
        "import os, sys\n"
        "if 'process' in sys.argv[0]: os._exit(7)\n"
        "from tests.engines.local.worker_app import store\n"
    )
    worker = app.start("--store", "dying:store")
    assert worker.wait(timeout=30) == 1
    assert "ended with status 7 as soon as it had started, 5 times in a row" in app.output()


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_ledger_that_vanishes_and_comes_back_is_served_again_without_a_restart(make_app):
    app = make_app()
    app.start()
    app.until(lambda: len(app.children()) == 1)
    publish(app.module.Created(number=1))
    app.until_quiet()
    path = app.store.ledger.path
    away = path.with_suffix(".away")
    path.rename(away)
    time.sleep(1.5)
    assert not path.exists(), "nobody made a new file"
    away.rename(path)
    publish(app.module.Created(number=2))
    app.until(lambda: app.count("done", "plain") == {1: 1, 2: 1}, 8)


def test_every_worker_of_one_kill_after_another_loses_nothing(make_app):
    """SIGKILLs at random moments of children and supervisors, under load: 30, or WHEREUPON_KILLS."""
    import random

    generator = random.Random(7)
    app = make_app("plain,atomic,followed")
    workers = [app.start() for _ in range(2)]
    number = 0
    kills = int(os.environ.get("WHEREUPON_KILLS", "30"))
    for _ in range(kills):
        publish_many([app.module.Created(number=number + each) for each in range(20)])
        number += 20
        time.sleep(generator.uniform(0.02, 0.3))
        children = app.children()
        if generator.random() < 0.3 or not children:
            victim = generator.choice(workers)
            victim.kill()
            victim.wait()
            workers.remove(victim)
            workers.append(app.start())
        else:
            try:
                os.kill(generator.choice(children), signal.SIGKILL)
            except ProcessLookupError:
                continue
    app.until_quiet(120)
    done, parked = app.settled("plain", "atomic")
    assert len(app.parked()) <= 3, (
        app.parked()
    )  # lawful, where three deaths or three stalls of the disk hit one
    for each in app.parked():
        assert (each.crashes if each.outcome == "crashes" else each.attempts) == 3, app.parked()
    for name in ("plain", "atomic"):
        assert sorted(done[name] + parked[name]) == list(range(number)), app.parked()
    assert set(app.count("done", "plain")) >= set(done["plain"])
    with app.store.ledger.reading() as transaction:
        effects = sorted(row[0] for row in transaction.rows("SELECT number FROM effect"))
        assert effects == sorted(done["atomic"]), "atomic effects are there exactly once"
        if app.store.ledger.dialect.name == "sqlite":
            assert transaction.rows("PRAGMA integrity_check") == [("ok",)]
