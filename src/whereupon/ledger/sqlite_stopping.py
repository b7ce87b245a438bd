"""Ending what another thread has open on its SQLite connection, for good."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_READ_ONLY: Final = "PRAGMA query_only = ON"
_READ_WRITE: Final = "PRAGMA query_only = OFF"
_TO_TELL: Final = 0.02  # seconds in which an interrupted statement raises, before its error is overwritten
_LEGACY: Final = -1  # sqlite3.LEGACY_TRANSACTION_CONTROL of Python 3.12: what isolation_level says


def stop(connection: sqlite3.Connection) -> Callable[[], None]:
    """Interrupt the statement that runs, roll back, refuse whatever is run later; return what undoes that.

    No SQL is prepared any more, and what was prepared before would have to be prepared anew. SQLite itself
    rolls back where it interrupts a statement that writes: whatever the other thread writes after that, and
    before it is stopped, begins another transaction.

    An authorizer would be shorter, and would hang the process: SQLite calls it with its mutex held, and it
    waits for the GIL, which the other thread may hold while it waits for the mutex. For the same reason no
    statement here may call anything of Python, such as a trace callback.
    """
    resume = _changed(connection)
    connection.interrupt()
    time.sleep(_TO_TELL)
    with contextlib.suppress(sqlite3.Error):
        connection.execute(_READ_ONLY)
        _roll_back(connection)
    connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, 0)
    return resume


def _changed(connection: Any) -> Callable[[], None]:
    """Allow short statements only, each that writes in a transaction; return what puts all settings back."""
    length = connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, len(_READ_ONLY))
    autocommit, level = getattr(connection, "autocommit", _LEGACY), connection.isolation_level
    if autocommit != _LEGACY:
        connection.autocommit = _LEGACY
    connection.isolation_level = "DEFERRED"

    def resume() -> None:
        connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, length)
        _roll_back(connection)
        connection.execute(_READ_WRITE)
        connection.isolation_level = level
        if autocommit != _LEGACY:
            connection.autocommit = autocommit

    return resume


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")
