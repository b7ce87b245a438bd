"""The transaction of an atomic subscriber: its effects and the close of its delivery commit together."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from whereupon.contrib.sqlalchemy.guarding import Guard
from whereupon.contrib.sqlalchemy.transaction import translated
from whereupon.ledger.sqlite import SQLiteLedger
from whereupon.ledger.sqlite_atomic import SQLiteAtomic

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    from sqlalchemy import Connection, Engine

    from whereupon.deliveries import Close
    from whereupon.ledger.postgres import PostgresLedger
    from whereupon.ledger_protocol import Atomic


class SQLAlchemyAtomic:
    """One transaction on a connection of the engine, which only whereupon can end.

    A session that the subscriber asks for lives in a savepoint of it: its commit releases the savepoint,
    its rollback goes back to it, and the transaction stays open. `expire` may be called from another thread.
    """

    def __init__(self, engine: Engine, own: SQLiteLedger | PostgresLedger) -> None:
        self._engine = engine
        self._own = own
        self._path = own.path if isinstance(own, SQLiteLedger) else None
        self._session: Session | None = None
        self._expired = False
        self._stack = contextlib.ExitStack()
        self.connection: Any = None

    def __enter__(self) -> Self:
        with self._translated(), contextlib.ExitStack() as stack:
            self._opened: Connection = stack.enter_context(self._engine.connect())
            self._guard = Guard(self._opened)
            stack.callback(self._guard.lift)
            self._opened.begin()
            raw: Any = self._opened.connection.driver_connection
            self._inner: Atomic
            if isinstance(self._own, SQLiteLedger):
                stack.callback(self._drop_stopped)
                stack.enter_context(_left_alone(raw))
                self._inner = SQLiteAtomic(self._own.path, self._own.busy_timeout, raw)
            else:
                from whereupon.ledger.psycopg_atomic import PsycopgAtomic

                self._inner = PsycopgAtomic(self._own.url, contextlib.nullcontext(raw), self._own.dialect)
            stack.enter_context(self._inner)
            self.connection = self._opened
            self._stack = stack.pop_all()
        return self

    def _drop_stopped(self) -> None:
        """Keep no connection of SQLite on which cursors may be open that were interrupted."""
        if self._expired:
            self._opened.invalidate()

    def _translated(self) -> contextlib.AbstractContextManager[None]:
        return translated(self._own.describe(), self._path)

    def argument(self, kind: type) -> Session | Connection:
        """Return the connection, or a session on it."""
        if kind is not Session:
            return self._opened
        if self._session is None:
            self._session = Session(self._opened, join_transaction_mode="create_savepoint")
            self.connection = self._session
        return self._session

    def finish(self, closes: Sequence[Close]) -> None:
        """Flush the session and close the deliveries inside the transaction. Raises `LostClaim`."""
        if self._session is not None and not self._expired:
            self._session.commit()
        self._inner.finish(closes)

    def expire(self) -> None:
        """Roll back now, or cancel the statement that runs, and let nothing be committed any more."""
        self._expired = True
        self._guard.stop()
        self._inner.expire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None and self._session is not None and not self._expired:
                self._session.commit()
        except BaseException as failure:
            self._end(type(failure), failure, failure.__traceback__)
            raise
        self._end(kind, error, trace)

    def _end(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._guard.lift()  # the subscriber has ended
        if self._session is not None:
            _close(self._session)
        ours = self._translated() if error is None else contextlib.nullcontext()
        with ours:  # an error of the subscriber's own stays what it is
            self._stack.__exit__(kind, error, trace)


def _close(session: Session) -> None:
    with contextlib.suppress(SQLAlchemyError):  # the connection may be gone, and all is rolled back anyway
        session.close()


@contextlib.contextmanager
def _left_alone(raw: sqlite3.Connection) -> Iterator[None]:
    """Prepare a connection of SQLite for a BEGIN of our own, and put its settings back afterwards."""
    if raw.in_transaction:  # of an event of the application, or of autocommit=False
        raw.execute("ROLLBACK")
    (before,) = raw.execute("PRAGMA busy_timeout").fetchone()
    raw.execute("PRAGMA busy_timeout = 0")  # see patiently()
    try:
        yield
    finally:
        with contextlib.suppress(sqlite3.Error):
            raw.execute(f"PRAGMA busy_timeout = {int(before)}")
            if getattr(raw, "autocommit", -1) is False:
                raw.execute("BEGIN")
