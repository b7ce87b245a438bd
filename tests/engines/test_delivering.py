"""What jobs of an engine name is claimed, handled and closed, whatever is raised in between."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import contextmanager
from datetime import timedelta

import pytest

from tests.servers import new_database, own_postgres
from whereupon import Event, EventStore, SQLiteLedger, publish, publish_many, subscribe, subscriber
from whereupon.engines import holding
from whereupon.engines.delivering import Deliverer
from whereupon.ledger import PostgresLedger, claims, rescue
from whereupon.testing import using_store

BUSY = [1, 2, 3]


class Made(Event, name="test.made"):
    number: int
    error: str = ""


class TimeIsUp(Exception):
    """What an engine raises when its time limit strikes."""


handled: list[int] = []


@subscriber(name="note", backoff=lambda _: timedelta(0))
def note(event: Made) -> None:
    handled.append(event.number)
    if event.error:
        raise ValueError(event.error)


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request, tmp_path):
    handled.clear()
    if request.param == "sqlite":
        ledger = SQLiteLedger(tmp_path / "ledger.sqlite3", own_transaction=True)
    else:
        ledger = PostgresLedger(new_database(), own_transaction=True)
    ledger.migrate()
    with using_store(EventStore(subscriptions=[subscribe(note, to=Made)], ledger=ledger)) as store:
        publish_many([Made(number=n) for n in range(1, 9)])
        yield store


@pytest.fixture
def ours(store):
    deliverer = Deliverer(store, "test")
    yield deliverer
    deliverer.close()


def known(store: EventStore) -> dict:
    return dict(store.routes.by_id)


def states(store: EventStore, *deliveries: int) -> set[tuple]:
    sql = "SELECT state, attempts, crashes FROM whereupon_delivery WHERE id = ANY(:ids)"
    with store.ledger.reading() as transaction:
        return set(transaction.rows(sql, {"ids": list(deliveries)}))


def until_done(store: EventStore, *deliveries: int, seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while states(store, *deliveries) != {("done", 0, 0)}:
        assert time.monotonic() < deadline, states(store, *deliveries)
        time.sleep(0.01)


@contextmanager
def slow_thread(monkeypatch):
    """Let nothing but claims write what is finished."""
    monkeypatch.setattr(holding.Holding, "_due_in", lambda _: None)
    yield
    monkeypatch.undo()


@pytest.fixture
def untraced():
    """Measure no coverage here: an exception raised by a signal leaves the lock of its tracer held."""
    traces = sys.gettrace(), threading.gettrace()
    sys.settrace(None)
    threading.settrace(None)
    yield
    sys.settrace(traces[0])
    threading.settrace(traces[1])


def test_a_delivery_is_handled_once_however_often_it_is_named(store, ours):
    for _ in range(3):
        ours.deliver([1, 1, 99], known(store))
    assert handled == [1]
    until_done(store, 1)


def test_what_is_finished_is_closed_with_the_next_claim(store, ours, monkeypatch):
    with slow_thread(monkeypatch):
        ours.deliver([2], known(store))
        ours.deliver([3], known(store))
        assert states(store, 2) == {("done", 0, 0)}
        assert states(store, 3) == {("claimed", 0, 0)}
        ours.deliver([], known(store))
        assert states(store, 3) == {("done", 0, 0)}


def test_what_is_finished_is_not_kept_waiting_where_nothing_has_followed_closely(store, ours, monkeypatch):
    monkeypatch.setattr(holding, "SOON", 0.0)
    ours.deliver([1], known(store))
    monkeypatch.setattr(holding, "SOON", 60.0)
    until_done(store, 1)


def test_what_no_claim_takes_along_is_closed_a_moment_later(store, ours):
    for each in BUSY:
        ours.deliver([each], known(store))
    until_done(store, *BUSY, seconds=0.5)


def test_what_is_finished_is_closed_when_the_process_ends(store, monkeypatch):
    with slow_thread(monkeypatch):
        ours = Deliverer(store, "test")
        for each in BUSY:
            ours.deliver([each], known(store))
        assert ("claimed", 0, 0) in states(store, *BUSY)
        ours.close()
    assert states(store, *BUSY) == {("done", 0, 0)}
    with store.ledger.reading() as transaction:
        assert rescue.processes(transaction) == []


def test_a_failure_is_written_at_once_and_what_is_finished_is_not_lost_by_it(store, ours, monkeypatch):
    publish(Made(number=9, error="no"))
    with slow_thread(monkeypatch):
        for each in (*BUSY, 9):
            ours.deliver([each], known(store))
        assert states(store, *BUSY) == {("done", 0, 0)}
        assert states(store, 9) == {("open", 1, 0)}


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_time_limit_that_strikes_in_an_exchange_leaves_nothing_held(store, ours, monkeypatch, after):
    original, strikes = holding.exchange, [1]

    def exchange(*given):
        found = original(*given) if after else None
        if strikes:
            strikes.pop()
            raise TimeIsUp
        return found or original(*given)

    with slow_thread(monkeypatch):
        for each in BUSY:
            ours.deliver([each], known(store))
        monkeypatch.setattr(holding, "exchange", exchange)
        with pytest.raises(TimeIsUp):
            ours.deliver([4], known(store))
    assert handled == BUSY
    assert states(store, *BUSY) == {("done", 0, 0)}
    assert states(store, 4) == {("open", 0, 0)}
    ours.deliver([4], known(store))
    ours.deliver([], known(store))
    until_done(store, 4)
    assert handled == [*BUSY, 4]


def test_a_time_limit_that_strikes_before_the_call_gives_it_back(store, ours, monkeypatch):
    monkeypatch.setattr("whereupon.engines.delivering.prepare", lambda *_: (_ for _ in ()).throw(TimeIsUp))
    with pytest.raises(TimeIsUp):
        ours.deliver([1], known(store))
    assert (handled, states(store, 1)) == ([], {("open", 0, 0)})


def test_a_time_limit_that_strikes_behind_the_commit_of_a_claim_gives_it_back(store, ours, monkeypatch):
    held = ours._holding
    original, strikes = held._patiently, [1]

    def patiently(work):
        done = original(work)
        if strikes:
            strikes.pop()
            raise TimeIsUp
        return done

    monkeypatch.setattr(held, "_patiently", patiently)
    with pytest.raises(TimeIsUp):
        ours.deliver([1], known(store))
    assert (handled, states(store, 1)) == ([], {("open", 0, 0)})
    ours.deliver([1], known(store))
    until_done(store, 1)
    assert handled == [1]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # an alarm in a finalizer
def test_signals_at_any_moment_leave_nothing_held(store, ours, untraced):
    """An alarm raises wherever the thread is, hundreds of times, as Celery's soft time limit does."""

    def strike(*_):
        raise TimeIsUp

    publish_many([Made(number=n) for n in range(100, 250)])
    previous = signal.signal(signal.SIGALRM, strike)
    struck = 0
    try:
        for delivery in range(9, 159):
            try:
                try:
                    signal.setitimer(signal.ITIMER_REAL, 0.0001 + delivery % 25 * 0.0001)
                    ours.deliver([delivery], known(store))
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
            except TimeIsUp:
                struck += 1
    finally:
        signal.signal(signal.SIGALRM, previous)
    time.sleep(holding._PATIENCE + 0.5)  # in which what is in doubt is looked at again
    with store.ledger.reading() as transaction:
        rows = transaction.rows("SELECT id, state FROM whereupon_delivery WHERE id > 8")
    assert struck > 10
    assert {state for _, state in rows} <= {"open", "done"}
    done = {99 + delivery - 8 for delivery, state in rows if state == "done"}
    assert done <= set(handled)


def test_behind_a_fork_nothing_of_the_parent_is_written(store, ours, monkeypatch):
    with slow_thread(monkeypatch):
        for each in BUSY:
            ours.deliver([each], known(store))
        child = os.fork()
        if child == 0:
            status = 1
            try:
                ours.deliver([4], known(store))
                ours.deliver([5], known(store))
                ours.close()
                status = 0 if handled == [*BUSY, 4, 5] else 2
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        assert states(store, 4, 5) == {("done", 0, 0)}
        assert states(store, BUSY[-1]) == {("claimed", 0, 0)}
        ours.deliver([6], known(store))
        assert states(store, *BUSY) == {("done", 0, 0)}


def test_a_worker_that_the_ledger_has_forgotten_makes_itself_known_again(store, ours):
    ours.deliver([1], known(store))
    until_done(store, 1)
    with store.ledger.transaction() as transaction:
        (process,) = rescue.processes(transaction)
        rescue.rescue(transaction, process.id, blame=False)
    ours.deliver([2], known(store))
    until_done(store, 2)
    with store.ledger.reading() as transaction:
        assert [each.id for each in rescue.processes(transaction)] != [process.id]


def test_a_close_that_comes_too_late_is_said_and_nobody_else_s_claim_is_closed(
    store, ours, monkeypatch, caplog
):
    with slow_thread(monkeypatch):
        for each in BUSY:
            ours.deliver([each], known(store))
        with store.ledger.transaction() as transaction:
            (process,) = rescue.processes(transaction)
            rescue.rescue(transaction, process.id, blame=False)
            claims.claim_woken(transaction, "other", [BUSY[-1]], list(known(store)))
        ours.deliver([4], known(store))
        assert "lost its claim" in caplog.text
        assert states(store, BUSY[-1]) == {("claimed", 0, 0)}


def test_what_is_finished_while_the_ledger_goes_away_is_closed_when_it_is_back(monkeypatch):
    handled.clear()
    server = own_postgres()
    try:
        ledger = PostgresLedger(server.url(), own_transaction=True)
        ledger.migrate()
        with using_store(EventStore(subscriptions=[subscribe(note, to=Made)], ledger=ledger)) as store:
            publish_many([Made(number=n) for n in range(1, 9)])
            ours = Deliverer(store, "test")
            with slow_thread(monkeypatch):
                for each in BUSY:
                    ours.deliver([each], known(store))
                server.stop()
            threading.Timer(2, server.start).start()
            ours.deliver([4], known(store))  # which waits for the ledger
            until_done(store, *BUSY, 4, seconds=10)
            assert handled == [*BUSY, 4]
            ours.close()
    finally:
        server.end()


def kill_in_a_loop(store: EventStore, path, first: int, after: float) -> int:
    """Handle one delivery after the other in a child, kill it, and return which is open; 0 if none is."""
    child = os.fork()
    if child == 0:
        ours = Deliverer(store, "test")
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            for delivery in range(first, first + 2_000):
                handled.clear()
                ours.deliver([delivery], known(store))
                if handled:
                    os.write(descriptor, f"{delivery}\n".encode())
        finally:
            os._exit(1)
    time.sleep(after)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with store.ledger.transaction() as transaction:
        for process in rescue.processes(transaction):
            rescue.rescue(transaction, process.id)
        sql = "SELECT coalesce(min(id), 0) FROM whereupon_delivery WHERE state = 'open'"
        return int(transaction.rows(sql)[0][0])


def test_a_kill_in_a_loop_of_quick_handlers_repeats_what_was_running_and_the_one_before(store, tmp_path):
    publish_many([Made(number=n) for n in range(10, 4_000)])
    log, first, kills = tmp_path / "log", 1, 0
    while first and kills < 12:
        first = kill_in_a_loop(store, log, first, 0.15 + kills * 0.013)
        kills += 1
    lines = list(map(int, log.read_text().split()))
    with store.ledger.reading() as transaction:
        done = {row[0] for row in transaction.rows("SELECT id FROM whereupon_delivery WHERE state = 'done'")}
    assert kills > 3
    assert len(done) > kills
    assert done <= set(lines), "whatever is done has been handled"
    assert len(lines) - len(set(lines)) <= 2 * kills
