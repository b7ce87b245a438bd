"""The transaction of an atomic subscriber: its effects and the close of its delivery commit together."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from typing import TYPE_CHECKING, Any, Final, Self

from whereupon.ledger import finishing
from whereupon.ledger.sqlite_connection import SQLiteConnection, SQLiteTransaction, translated

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta
    from pathlib import Path
    from types import TracebackType

    from whereupon.deliveries import Close

_TRANSACTION: Final = 22  # SQLITE_TRANSACTION, the action code of BEGIN, COMMIT and ROLLBACK


class SQLiteAtomic:
    """One IMMEDIATE transaction, on a connection of its own that only whereupon can end.

    BEGIN, COMMIT and ROLLBACK are refused to the subscriber, savepoints are not. `expire` may be called
    from another thread: it rolls back at once, and whatever the subscriber still runs is refused, so that
    a handler over its time limit does not hold the lock of the whole file. `given` is a connection of
    the application to use instead, which is not closed.
    """

    def __init__(self, path: Path, patience: timedelta, given: sqlite3.Connection | None = None) -> None:
        self._path = path
        self._patience = patience
        self._given = given
        self._own_call = threading.local()
        self._expired = False
        self._mutex = threading.Lock()

    def __enter__(self) -> Self:
        self._opened = SQLiteConnection(self._path, self._patience, self._given)
        self._scope = self._opened.transaction()
        try:
            self._scope.__enter__()
        except BaseException:
            if self._given is None:
                self._opened.close()
            raise
        self.connection: sqlite3.Connection = self._opened.raw
        self.connection.set_authorizer(self._authorize)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._mutex, self._by_ourselves():
            try:
                if not self._expired:
                    self._scope.__exit__(kind, error, trace)
            finally:
                if self._given is None:
                    self._opened.close()
                else:
                    self._given.set_authorizer(None)

    def argument(self, kind: type) -> sqlite3.Connection:  # noqa: ARG002 - there is one kind
        """Return the connection."""
        return self.connection

    def finish(self, closes: Sequence[Close]) -> None:
        """Close the deliveries inside the transaction. Raises `LostClaim`."""
        with self._mutex, self._by_ourselves(), translated(self._path):
            if self._expired:
                raise finishing.lost_claim(closes)
            finishing.finish(SQLiteTransaction(self.connection), closes)

    def expire(self) -> None:
        """Roll back now and refuse everything else. May be called from another thread.

        A statement that runs meanwhile is interrupted. Its error can be lost, as CPython asks the connection
        for the code of the last error, which the rollback has reset by then; the next one is refused.
        """
        self._expired = True
        self.connection.interrupt()
        with self._mutex, self._by_ourselves(), contextlib.suppress(sqlite3.Error):
            self.connection.set_authorizer(self._authorize)  # makes SQLite prepare, and ask, anew
            self.connection.rollback()

    @contextlib.contextmanager
    def _by_ourselves(self) -> Any:
        self._own_call.active = True
        try:
            yield
        finally:
            self._own_call.active = False

    def _authorize(self, action: int, *_: object) -> int:
        if getattr(self._own_call, "active", False):
            return sqlite3.SQLITE_OK
        return sqlite3.SQLITE_DENY if self._expired or action == _TRANSACTION else sqlite3.SQLITE_OK
