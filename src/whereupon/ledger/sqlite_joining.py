"""Joining the transaction of a `sqlite3.Connection`: what joins, what does not, what became of it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from typing import TYPE_CHECKING, Any

from whereupon.errors import NoTransaction, WrongConnection, WrongLedger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from whereupon.ledger_protocol import Fate


def joins(connection: sqlite3.Connection) -> bool:
    """Tell whether what is written on a connection is part of a transaction that its owner ends.

    True inside a transaction, and where the sqlite3 module opens one by itself: in its legacy mode and
    with `autocommit=False`.
    """
    autocommit = getattr(connection, "autocommit", -1)  # new in Python 3.12; -1 is the legacy mode
    if autocommit is False or connection.in_transaction:
        return True
    return autocommit is not True and connection.isolation_level is not None


def refuse_to_join(on: object | None, *, own_transaction: bool) -> None:
    """Raise `WrongConnection` or `NoTransaction` where an event could not commit with anything."""
    if on is None:
        if own_transaction:
            return
        raise NoTransaction(
            "there is no transaction that the event could commit with",
            fix="publish(event, on=connection) with the connection of the business transaction, or "
            "SQLiteLedger(path, own_transaction=True) if events may commit on their own",
        )
    if not isinstance(on, sqlite3.Connection):
        raise _wrong_connection(on)
    if not joins(on):
        raise NoTransaction(
            "the connection is in autocommit mode and in no transaction, so the event would commit alone",
            fix='run connection.execute("BEGIN IMMEDIATE") before the business rows are written',
        )


def refuse_other_file(connection: sqlite3.Connection, path: Path) -> None:
    """Raise `WrongLedger` where a connection writes to another file than the ledger's."""
    refuse_other_main(connection.execute("PRAGMA database_list"), path)


def refuse_other_main(databases: Iterable[Sequence[Any]], path: Path) -> None:
    """Raise `WrongLedger` where the main one of a connection's databases is not the ledger's file."""
    found = next(row[2] for row in databases if row[1] == "main")
    if found != str(path) and not _is_same_file(found, path):
        raise WrongLedger(
            f"on= writes to {found or 'a database in memory'}, and the workers read {path}",
            fix="open the ledger's file, or make the ledger on the application's own database file",
        )


def watch(connection: sqlite3.Connection, event_id: str) -> Callable[[], Fate]:
    """Note an event in the connection's transaction and return what tells its fate. For tests.

    The note is a row of a temporary table, which a rollback takes away as it would the event. On a closed
    connection nothing can be told any more, and the event counts as committed.
    """
    connection.execute("CREATE TEMP TABLE IF NOT EXISTS whereupon_watched (event_id TEXT)")
    connection.execute("INSERT INTO temp.whereupon_watched VALUES (?)", (event_id,))

    def fate() -> Fate:
        try:
            cursor = connection.execute(
                "SELECT 1 FROM temp.whereupon_watched WHERE event_id = ?", (event_id,)
            )
            is_there = cursor.fetchone() is not None
        except sqlite3.ProgrammingError:
            return "committed"
        except sqlite3.OperationalError:
            return "rolled back"
        if not is_there:
            return "rolled back"
        return "pending" if connection.in_transaction else "committed"

    return fate


def _wrong_connection(on: object) -> WrongConnection:
    kind = f"{type(on).__module__}.{type(on).__qualname__}"
    if type(on).__name__.startswith("Async"):
        return WrongConnection(f"publish cannot wait for {kind}", fix="await apublish(event, on=...)")
    return WrongConnection(
        f"SQLiteLedger joins the transaction of a sqlite3.Connection, not of {kind}",
        fix="pass the sqlite3.Connection that wrote the business rows",
    )


def _is_same_file(path: str, other: Path) -> bool:
    with contextlib.suppress(OSError):
        return bool(path) and os.path.exists(path) and other.samefile(path)  # noqa: PTH110
    return False
