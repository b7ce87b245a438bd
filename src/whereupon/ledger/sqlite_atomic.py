"""The transaction of an atomic subscriber: its effects and the close of its delivery commit together."""

from __future__ import annotations

import sqlite3
import threading
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self

from whereupon.ledger import finishing
from whereupon.ledger.sqlite_connection import SQLiteConnection, SQLiteTransaction, translated
from whereupon.ledger.sqlite_stopping import stop

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import timedelta
    from pathlib import Path
    from types import TracebackType

    from whereupon.deliveries import Close


class SQLiteAtomic:
    """One IMMEDIATE transaction, on a connection of its own that only whereupon can end.

    A subscriber that ends it in SQL is told so, and its delivery is not closed. `expire` may be called from
    another thread: it rolls back at once, and whatever the subscriber still runs is refused, so that one over
    its time limit does not hold the lock of the whole file. `given` is a connection of the application to use
    instead, which is not closed.
    """

    def __init__(self, path: Path, patience: timedelta, given: sqlite3.Connection | None = None) -> None:
        self._path = path
        self._patience = patience
        self._given = given
        self._resume: Callable[[], None] | None = None
        self._ended = False
        self._mutex = threading.Lock()

    def __enter__(self) -> Self:
        self._opened = SQLiteConnection(self._path, self._patience, self._given, kind=_Lent)
        self._scope = self._opened.transaction()
        try:
            self._scope.__enter__()
        except BaseException:
            if self._given is None:
                self._opened.close()
            raise
        self.connection: sqlite3.Connection = self._opened.raw
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
            if self._resume is None:
                self._scope.__exit__(kind, error, trace)
            elif self._given is not None:
                self._resume()
        finally:
            if self._given is None:
                self._opened.close()

    def argument(self, kind: type) -> sqlite3.Connection:  # noqa: ARG002 - there is one kind
        """Return the connection."""
        return self.connection

    def finish(self, closes: Sequence[Close]) -> None:
        """Close the deliveries inside the transaction. Raises `LostClaim`, `NoTransaction`."""
        with self._mutex, translated(self._path):
            if self._resume is not None:
                raise finishing.lost_claim(closes)
            if not self.connection.in_transaction:
                raise finishing.ended_early()
            finishing.finish(SQLiteTransaction(self.connection), closes)

    def expire(self) -> None:
        """Roll back now and refuse everything else. May be called from another thread."""
        with self._mutex:
            if not self._ended:
                self._resume = stop(self.connection)


class _Lent(sqlite3.Connection):
    """A connection whose methods do not end its transaction."""

    def commit(self) -> NoReturn:
        raise finishing.ended_early()

    rollback = commit

    def executescript(self, *_: Any) -> NoReturn:
        """Refuse: it would commit first."""
        raise finishing.ended_early()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> Literal[False]:
        if kind is None:
            raise finishing.ended_early()
        return False
