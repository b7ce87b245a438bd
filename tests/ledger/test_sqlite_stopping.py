"""A connection on which another thread was stopped: it writes nothing, until that is undone."""

from __future__ import annotations

import sqlite3
import sys

import pytest

from whereupon.ledger.sqlite_stopping import stop

INSERT = "INSERT INTO thing VALUES (1)"
WAYS = [{"isolation_level": level} for level in (None, "", "IMMEDIATE")]
if sys.version_info >= (3, 12):
    WAYS.append({"autocommit": True})


@pytest.fixture(params=WAYS, ids=str)
def connection(request, tmp_path):
    made = sqlite3.connect(tmp_path / "shop.sqlite3", isolation_level=None)
    made.execute("CREATE TABLE thing (number INTEGER)")
    made.execute(INSERT)
    made.close()
    connection = sqlite3.connect(
        tmp_path / "shop.sqlite3", timeout=0, check_same_thread=False, **request.param
    )
    yield connection
    connection.close()


def count(connection) -> int:
    return connection.execute("SELECT count(*) FROM thing").fetchone()[0]


def test_it_is_rolled_back_and_writes_nothing_and_then_works_on(connection, tmp_path):
    for _ in range(2):
        if not connection.in_transaction:
            connection.execute("BEGIN")
        connection.execute(INSERT)
        half_read = connection.execute("SELECT * FROM thing")
        half_read.fetchone()
        undo = stop(connection)
        with pytest.raises(sqlite3.OperationalError, match=r"readonly|interrupted"):  # as the cursor is open
            connection.execute(INSERT)
        other = sqlite3.connect(tmp_path / "shop.sqlite3", timeout=0, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")  # the lock is free
        other.close()
        half_read.close()
        undo()
        connection.rollback()
        assert count(connection) == 1
    connection.execute(INSERT)
    connection.commit()
    assert count(connection) == 2


def test_one_that_is_closed_or_bound_to_its_thread_is_left_alone(tmp_path):
    closed = sqlite3.connect(tmp_path / "shop.sqlite3", check_same_thread=False)
    closed.close()
    stop(closed)()
    bound = sqlite3.connect(tmp_path / "shop.sqlite3")
    bound.execute("CREATE TABLE thing (number INTEGER)")
    stop(bound)()
    bound.execute(INSERT)
    bound.close()
