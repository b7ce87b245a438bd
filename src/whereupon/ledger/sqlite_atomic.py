"""The transaction of an atomic subscriber: its effects and the close of its delivery commit together."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Self

from whereupon.ledger import finishing
from whereupon.ledger.sqlite_connection import SQLiteConnection, SQLiteTransaction, translated
from whereupon.ledger.sqlite_guarding import GuardedConnection
from whereupon.ledger.sqlite_stopping import stop

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence
    from datetime import timedelta
    from pathlib import Path
    from types import TracebackType

    from whereupon.deliveries import Close


class SQLiteAtomic:
    """One IMMEDIATE transaction, on a connection of its own that only whereupon can end.

    `expire` may be called from another thread: it rolls back at once, and whatever the subscriber still runs
    is refused, so that one over its time limit does not hold the lock of the whole file. `given` is a
    connection of the application to use instead, which is not closed, and whose use the caller refuses; a
    cursor of it that is half read keeps its shared lock.
    """

    def __init__(self, path: Path, patience: timedelta, given: sqlite3.Connection | None = None) -> None:
        self._path = path
        self._patience = patience
        self._given = given
        self._undo: Callable[[], None] | None = None
        self._ended = False
        self._mutex = threading.Lock()

    def __enter__(self) -> Self:
        self._opened = SQLiteConnection(self._path, self._patience, self._given, kind=GuardedConnection)
        self._scope = self._opened.transaction()
        try:
            self._scope.__enter__()
        except BaseException:
            if self._given is None:
                self._opened.close()
            raise
        self.connection: Any = self._opened.raw  # a GuardedConnection, unless it was given
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._mutex:
            self._ended = True
        try:
            if self._undo is None:
                self._scope.__exit__(kind, error, trace)
            else:
                self._undo()
        finally:
            if self._given is None:
                self._opened.close()

    def argument(self, kind: type) -> sqlite3.Connection:  # noqa: ARG002 - there is one kind
        """Return the connection."""
        connection: sqlite3.Connection = self.connection
        return connection

    def finish(self, closes: Sequence[Close]) -> None:
        """Close the deliveries inside the transaction. Raises `LostClaim`, `NoTransaction`."""
        with self._mutex, translated(self._path):
            if self._undo is not None:
                raise finishing.lost_claim(closes)
            if not self.connection.in_transaction:
                raise finishing.ended_early()
            finishing.finish(SQLiteTransaction(self.connection), closes)

    def expire(self) -> None:
        """Roll back now and refuse everything else. May be called from another thread."""
        with self._mutex:
            if self._ended:
                return
            self._undo = self.connection.stop() if self._given is None else stop(self._given)
