"""The connection that an atomic subscriber gets: whereupon ends its transaction, and nobody else."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self, TypeVar, cast

from whereupon.ledger import finishing
from whereupon.ledger.sqlite_stopping import interrupted, stop

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")


class GuardedConnection(sqlite3.Connection):
    """Refuses to end its transaction, and everything behind `stop`. Savepoints are not refused.

    Each call of its cursors holds `lock`: sqlite3 keeps no two threads apart that use one cursor, and Python
    crashes where one closes it while the other waits for its next row.
    """

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.lock = threading.RLock()
        self._is_stopped = False
        self._cursors: weakref.WeakSet[_GuardedCursor] = weakref.WeakSet()
        self._listing = threading.Lock()

    def stop(self) -> Callable[[], None]:
        """Roll back, and let nothing be run any more; return what undoes the latter, for the other thread.

        May be called from another thread. A call that goes on is interrupted, and after a second left alone.
        """
        self._is_stopped = True
        is_alone = interrupted(self, lambda seconds: self.lock.acquire(timeout=seconds))
        try:
            with self._listing:
                cursors = list(self._cursors) if is_alone else []
            for each in cursors:  # half read, they hold a shared lock
                with contextlib.suppress(sqlite3.Error):
                    each.close()
            return stop(self)
        finally:
            if is_alone:
                self.lock.release()

    def refuse(self, sql: str) -> None:
        """Raise `NoTransaction` or `LostClaim` where a statement may not be run."""
        if self._is_stopped:
            raise finishing.stopped()
        finishing.refuse_end(sql)

    def cursor(self, factory: Any = None) -> Any:
        """Return a cursor that refuses the same."""
        cursor = super().cursor(factory or _GuardedCursor)
        if isinstance(cursor, _GuardedCursor):
            with self._listing:
                self._cursors.add(cursor)
        return cursor

    def execute(self, sql: str, *given: Any) -> Any:
        """Run a statement on a new cursor, and return that."""
        return self.cursor().execute(sql, *given)

    def executemany(self, sql: str, *given: Any) -> Any:
        """Run a statement many times on a new cursor, and return that."""
        return self.cursor().executemany(sql, *given)

    def executescript(self, *_: Any) -> NoReturn:
        """Refuse: it would commit first."""
        raise finishing.ended_early()

    def commit(self) -> NoReturn:
        """Refuse, as `rollback` does."""
        raise finishing.ended_early()

    rollback = commit

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> Literal[False]:
        if kind is None:
            raise finishing.ended_early()
        return False


class _GuardedCursor(sqlite3.Cursor):
    @property
    def _guard(self) -> GuardedConnection:
        return cast("GuardedConnection", self.connection)

    def execute(self, sql: str, *given: Any) -> Self:
        return self._guarded(super().execute, sql, *given)

    def executemany(self, sql: str, *given: Any) -> Self:
        return self._guarded(super().executemany, sql, *given)

    def executescript(self, *_: Any) -> NoReturn:
        raise finishing.ended_early()

    def fetchone(self) -> Any:
        return self._guarded(super().fetchone)

    def fetchmany(self, *given: Any, **named: Any) -> Any:
        return self._guarded(partial(super().fetchmany, *given, **named))

    def fetchall(self) -> Any:
        return self._guarded(super().fetchall)

    def __next__(self) -> Any:
        return self._guarded(super().__next__)

    def close(self) -> None:
        with self._guard.lock:
            super().close()

    def _guarded(self, run: Callable[..., _T], *given: Any) -> _T:
        """Call what is not refused.

        What was interrupted may end in any way, also as if it had found nothing: CPython asks the connection
        for its error, which another statement has reset by then. So it is refused again.
        """
        sql = given[0] if given else ""
        self._guard.refuse(sql)  # before the lock, which another thread may be waiting for
        with self._guard.lock:
            self._guard.refuse(sql)
            try:
                return run(*given)
            finally:
                self._guard.refuse(sql)
