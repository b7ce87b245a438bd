"""The connection that an atomic subscriber gets: whereupon ends its transaction, and nobody else."""

from __future__ import annotations

import contextlib
import sqlite3
import weakref
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self

from whereupon.ledger import finishing

if TYPE_CHECKING:
    from collections.abc import Callable


class GuardedConnection(sqlite3.Connection):
    """Refuses to end its transaction, and everything behind `stop`. Savepoints are not refused."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._is_stopped = False
        self._cursors: weakref.WeakSet[sqlite3.Cursor] = weakref.WeakSet()

    def stop(self) -> None:
        """Begin no more statements. May be called from another thread."""
        self._is_stopped = True

    def close_cursors(self) -> None:
        """Close what is half read, and holds a shared lock. May be called from another thread."""
        for each in list(self._cursors):
            with contextlib.suppress(sqlite3.Error):
                each.close()

    def refuse(self, sql: str) -> None:
        """Raise `NoTransaction` or `LostClaim` where a statement may not be run."""
        if self._is_stopped:
            raise finishing.stopped()
        finishing.refuse_end(sql)

    def cursor(self, factory: Any = None) -> Any:
        """Return a cursor that refuses the same."""
        cursor = super().cursor(factory or _GuardedCursor)
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
    def execute(self, sql: str, *given: Any) -> Self:
        return self._guarded(super().execute, sql, *given)

    def executemany(self, sql: str, *given: Any) -> Self:
        return self._guarded(super().executemany, sql, *given)

    def executescript(self, *_: Any) -> NoReturn:
        raise finishing.ended_early()

    def _guarded(self, run: Callable[..., object], sql: str, *given: Any) -> Self:
        """Run a statement that is not refused.

        One that was interrupted may end in any way, also as if it had found nothing: CPython asks the
        connection for its error, which another statement has reset by then. So it is refused again.
        """
        connection: Any = self.connection
        connection.refuse(sql)
        try:
            run(sql, *given)
        finally:
            connection.refuse(sql)
        return self
