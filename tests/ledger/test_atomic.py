"""The transaction of an atomic subscriber: effect and close commit together, and nobody else ends it."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
import threading
import time

import psycopg
import pytest

from whereupon.deliveries import Close, Done
from whereupon.errors import LostClaim, NoTransaction

A = "a.one:ci.created"


@pytest.fixture
def claim(bench):
    with bench.transaction() as transaction:
        transaction.run("CREATE TABLE effect (number INTEGER)")
    bench.publish(A)
    ((claim,),) = bench.claim(bench.worker(), A)
    return claim


def effects(bench) -> int:
    return bench.rows("SELECT count(*) FROM effect")[0][0]


def test_the_effect_and_the_close_commit_together(bench, claim):
    with bench.ledger.atomic() as atomic:
        atomic.connection.execute("INSERT INTO effect VALUES (1)")
        atomic.finish([Close(claim, Done())])
    assert (effects(bench), bench.row(1)["state"]) == (1, "done")


def test_a_raise_rolls_both_back(bench, claim):
    with pytest.raises(ZeroDivisionError), bench.ledger.atomic() as atomic:
        atomic.connection.execute("INSERT INTO effect VALUES (1)")
        atomic.finish([Close(claim, Done())])
        raise ZeroDivisionError
    assert (effects(bench), bench.row(1)["state"]) == (0, "claimed")


def test_a_lost_claim_rolls_the_effect_back(bench, claim):
    bench.rescue(bench.row(1)["worker"])
    with pytest.raises(LostClaim), bench.ledger.atomic() as atomic:
        atomic.connection.execute("INSERT INTO effect VALUES (1)")
        atomic.finish([Close(claim, Done())])
    assert (effects(bench), bench.row(1)["state"]) == (0, "open")


def test_a_claim_that_was_closed_before_is_not_closed_with_a_second_effect(bench, claim):
    for lost in (False, True):
        with contextlib.suppress(LostClaim), bench.ledger.atomic() as atomic:
            atomic.connection.execute("INSERT INTO effect VALUES (1)")
            atomic.finish([Close(claim, Done())])
            assert not lost, "the claim is closed, and its effect is there"
    assert (effects(bench), bench.row(1)["state"]) == (1, "done")


@pytest.mark.parametrize("bench", ["postgresql"], indirect=True)
def test_on_postgresql_the_connection_is_kept_without_the_ledgers_own_limits(bench, claim):
    seen = []
    for _ in range(2):
        with bench.ledger.atomic() as atomic:
            limits = ("lock_timeout", "idle_in_transaction_session_timeout")
            found = [atomic.connection.execute(f"SHOW {limit}").fetchone()[0] for limit in limits]
            seen.append((atomic.connection.info.backend_pid, found))
    assert seen[0] == seen[1]
    assert seen[0][1] == ["0", "0"]
    with pytest.raises(ZeroDivisionError), bench.ledger.atomic() as atomic:
        raise ZeroDivisionError
    with bench.ledger.atomic() as atomic:
        assert atomic.connection.info.backend_pid != seen[0][0], "one that saw an error is not kept"


@pytest.mark.parametrize(
    "end",
    [
        lambda connection: connection.commit(),
        lambda connection: connection.rollback(),
        lambda connection: connection.executescript("SELECT 1"),
        lambda connection: connection.cursor().executescript("SELECT 1"),
        lambda connection: connection.__enter__().__exit__(None, None, None),
        lambda connection: connection.execute("COMMIT"),
        lambda connection: connection.execute(" rollback;"),
        lambda connection: connection.cursor().execute("END TRANSACTION"),
    ],
    ids=["commit", "rollback", "script", "cursor-script", "with", "COMMIT", "ROLLBACK", "END"],
)
@pytest.mark.parametrize("bench", ["sqlite"], indirect=True)
def test_sqlite3_refuses_to_end_the_transaction(bench, claim, end):
    with pytest.raises(NoTransaction, match="leave commit and rollback"), bench.ledger.atomic() as atomic:
        atomic.connection.execute("INSERT INTO effect VALUES (1)")
        end(atomic.connection)
    assert effects(bench) == 0


@pytest.mark.parametrize("bench", ["sqlite"], indirect=True)
def test_an_error_in_a_with_block_of_the_connection_stays_what_it_is(bench, claim):
    with pytest.raises(ZeroDivisionError), bench.ledger.atomic() as atomic, atomic.connection:
        atomic.connection.execute("INSERT INTO effect VALUES (1)")
        raise ZeroDivisionError
    assert effects(bench) == 0


@pytest.mark.parametrize("bench", ["postgresql"], indirect=True)
@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_psycopg_refuses_to_end_the_transaction(bench, claim, end):
    with pytest.raises(psycopg.ProgrammingError, match="forbidden"), bench.ledger.atomic() as atomic:
        atomic.connection.execute("INSERT INTO effect VALUES (1)")
        getattr(atomic.connection, end)()
    assert effects(bench) == 0


@pytest.mark.parametrize("end", ["/* behind a comment */ COMMIT", "/* another */ ROLLBACK"])
def test_a_transaction_that_the_subscriber_ended_in_sql_closes_nothing_and_says_so(bench, claim, end):
    with pytest.raises(NoTransaction, match="has ended its transaction"), bench.ledger.atomic() as atomic:
        atomic.connection.execute("INSERT INTO effect VALUES (1)")
        atomic.connection.execute(end)
        atomic.finish([Close(claim, Done())])
    assert bench.row(1)["state"] == "claimed"


def test_savepoints_are_the_subscribers_own(bench, claim):
    with bench.ledger.atomic() as atomic:
        atomic.connection.execute("INSERT INTO effect VALUES (1)")
        atomic.connection.execute("SAVEPOINT within")
        atomic.connection.execute("INSERT INTO effect VALUES (2)")
        atomic.connection.execute("ROLLBACK TO within")
        atomic.finish([Close(claim, Done())])
    assert effects(bench) == 1


def test_an_expired_transaction_frees_the_lock_at_once_and_refuses_everything(bench, claim):
    started, proceed = threading.Event(), threading.Event()
    seen: list[BaseException] = []

    def subscriber() -> None:
        try:
            with bench.ledger.atomic() as atomic:
                box.append(atomic)
                atomic.connection.execute("INSERT INTO effect VALUES (1)")
                started.set()
                proceed.wait(10)
                try:
                    atomic.connection.execute("INSERT INTO effect VALUES (2)")
                except (LostClaim, psycopg.Error) as error:
                    seen.append(error)
                atomic.finish([Close(claim, Done())])
        except LostClaim as error:
            seen.append(error)

    box: list = []
    thread = threading.Thread(target=subscriber)
    thread.start()
    started.wait(10)
    box[0].expire()
    bench.publish(A)  # would wait for 30 seconds if the lock were still held
    proceed.set()
    thread.join(10)
    refusal = [LostClaim] if bench.ledger.takes_turns else []  # elsewhere no lock is held up
    assert [type(each) for each in seen] == [*refusal, LostClaim]
    assert (effects(bench), bench.row(1)["state"]) == (0, "claimed")


def test_a_statement_that_runs_is_interrupted_by_the_expiry(bench, claim):
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    box: list = []
    failures: list = []

    def subscriber() -> None:
        with (
            pytest.raises((LostClaim, psycopg.errors.QueryCanceled)) as caught,
            bench.ledger.atomic() as atomic,
        ):
            box.append(atomic)
            atomic.connection.execute(endless)
        failures.append(caught.value)

    thread = threading.Thread(target=subscriber)
    thread.start()
    while not box:
        time.sleep(0.01)
    time.sleep(0.1)
    box[0].expire()
    thread.join(10)
    assert len(failures) == 1


def prepares_and_fails(connection, number) -> None:
    connection.execute("INSERT INTO effect VALUES (?)", (number,))
    connection.execute(f"SELECT count(*), {number} FROM effect").fetchall()
    connection.execute("SELECT nothing")


def writes_in_savepoints(connection, number) -> None:
    connection.execute("SAVEPOINT a")
    connection.execute(f"WITH RECURSIVE n(i) AS ({FEW}) INSERT INTO effect SELECT i FROM n", (number,))
    connection.execute("RELEASE a")


def takes_ten_milliseconds(connection, number) -> None:
    connection.execute(f"WITH RECURSIVE n(i) AS ({FEW}) SELECT count(*) FROM n", (number,)).fetchall()


def takes_long_for_each_row(connection, number) -> None:
    for _ in connection.execute(
        f"WITH RECURSIVE n(i) AS ({FEW}) SELECT i FROM n WHERE i % 900 = 0", (number,)
    ):
        pass


FEW = "SELECT ? UNION ALL SELECT i + 1 FROM n LIMIT 30000"


@pytest.mark.parametrize(
    "work", [prepares_and_fails, writes_in_savepoints, takes_ten_milliseconds, takes_long_for_each_row]
)
@pytest.mark.parametrize("bench", ["sqlite"], indirect=True)
def test_one_that_works_on_is_stopped_at_any_moment(bench, claim, work):
    """Nothing hangs, whatever the other thread is at: preparing, running, fetching, failing."""
    for number in range(20):
        opened = threading.Event()
        box: list = []

        def subscriber(opened=opened, box=box) -> None:
            with pytest.raises(LostClaim), bench.ledger.atomic() as atomic:
                box.append(atomic)
                opened.set()
                for value in itertools.count():
                    with contextlib.suppress(sqlite3.OperationalError):
                        work(atomic.connection, value)

        thread = threading.Thread(target=subscriber)
        thread.start()
        opened.wait(10)
        time.sleep(number * 0.0007)
        box[0].expire()
        thread.join(10)
        assert not thread.is_alive()
    assert effects(bench) == 0


@pytest.mark.parametrize("bench", ["sqlite"], indirect=True)
def test_the_lock_is_free_though_a_cursor_is_half_read(bench, claim):
    with pytest.raises(LostClaim), bench.ledger.atomic() as atomic:
        atomic.connection.executemany("INSERT INTO effect VALUES (?)", [(1,), (2,)])
        rows = atomic.connection.execute("SELECT number FROM effect")
        rows.fetchone()
        atomic.expire()
        bench.publish(A)  # would wait for the lock
        with pytest.raises(LostClaim):
            rows.fetchone()
        atomic.connection.execute("INSERT INTO effect VALUES (3)")
    assert effects(bench) == 0
