"""A connection that another thread was stopped on: nothing works on it, and then all does as before."""

from __future__ import annotations

import sqlite3
import sys

import pytest

from whereupon.ledger.sqlite_stopping import stop

WAYS = [{"isolation_level": level} for level in (None, "", "IMMEDIATE")]
if sys.version_info >= (3, 12):
    WAYS += [{"autocommit": True}, {"autocommit": False}]


@pytest.fixture(params=WAYS, ids=str)
def connection(request, tmp_path):
    path = tmp_path / "shop.sqlite3"
    made = sqlite3.connect(path, isolation_level=None)
    made.execute("CREATE TABLE thing (number INTEGER)")
    made.close()
    connection = sqlite3.connect(path, timeout=0, **request.param)
    yield connection
    connection.close()


def settings(connection) -> tuple:
    length = connection.getlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH)
    read_only = connection.execute("PRAGMA query_only").fetchone()
    return getattr(connection, "autocommit", None), connection.isolation_level, length, read_only


def count(connection) -> int:
    return connection.execute("SELECT count(*) FROM thing").fetchone()[0]


def test_nothing_works_and_then_all_does_as_before(connection, tmp_path):
    insert = "INSERT INTO thing VALUES (1)"
    connection.execute(insert)
    connection.commit()
    before = settings(connection)
    for _ in range(2):
        connection.execute(insert)
        if not connection.in_transaction:
            connection.execute("BEGIN")
        connection.execute(insert)
        resume = stop(connection)
        for statement in (insert, "INSERT INTO thing VALUES (3)", "BEGIN"):
            with pytest.raises(sqlite3.DataError):
                connection.execute(statement)
        with sqlite3.connect(tmp_path / "shop.sqlite3", timeout=0) as other:
            other.execute("BEGIN IMMEDIATE")  # the lock is free
        other.close()
        resume()
        assert settings(connection) == before
    whole = count(connection)
    connection.execute(insert)
    connection.commit()
    assert count(connection) == whole + 1
