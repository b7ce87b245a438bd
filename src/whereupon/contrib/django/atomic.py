"""The transaction of an atomic subscriber on a Django connection: effects and close commit together."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
from typing import TYPE_CHECKING, Any, Final, Self

from django.db import Error as DjangoError

from whereupon.contrib.django.databases import connection_of, dialect_of
from whereupon.contrib.django.transactions import DjangoTransaction, begun, renew, translated
from whereupon.errors import InvalidSubscriber
from whereupon.ledger import finishing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from whereupon.deliveries import Close

_ALLOWED: Final = sqlite3.SQLITE_OK
_log = logging.getLogger("whereupon.worker")


class DjangoAtomic:
    """One `transaction.atomic` block on the connection that the thread has for an alias.

    Django refuses commit and rollback in it. `expire` may be called from another thread: the statement that
    runs is cancelled, and whatever the subscriber still does is rolled back; on SQLite at once, so that it
    does not hold the lock of the whole file.
    """

    def __init__(self, using: str, schema: str) -> None:
        self._using = using
        self._schema = schema
        self._expired = self._ended = self._committed = False
        self._mutex = threading.Lock()
        self._own_call = threading.local()

    def __enter__(self) -> Self:
        self.connection = connection = connection_of(self._using)
        self._transaction = DjangoTransaction(connection, dialect_of(connection, self._schema))
        self._is_outermost = not connection.in_atomic_block
        with translated(connection):
            if self._is_outermost:
                _reset(connection)
            self._scope = begun(connection)
            self._scope.__enter__()
            connection.on_commit(self._note_commit)  # before those of the subscriber
        return self

    def _note_commit(self) -> None:
        self._committed = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._mutex:
            self._ended = True
        if self._expired:
            self.connection.set_rollback(True)
        try:
            if error is not None:
                self._leave(kind, error, trace)  # an error of the subscriber's own stays what it is
                return
            with translated(self.connection):
                self._leave(None, None, None)
        except Exception:
            if not self._committed:
                raise
            _log.exception("a function given to on_commit failed; the subscriber's transaction is committed")
        finally:
            self._clear()

    def _leave(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._by_ourselves():
            self._scope.__exit__(kind, error, trace)

    def _clear(self) -> None:
        """Give the connection back as it was; after `expire` there is nothing to keep of it."""
        if self._expired:
            raw = self.connection.connection
            if raw is not None and self.connection.vendor == "sqlite":
                raw.set_authorizer(None)
            with contextlib.suppress(DjangoError):
                self.connection.close()

    def argument(self, kind: type) -> object:
        """Refuse: the connection of a Django project is found by its alias."""
        raise InvalidSubscriber(f"nothing fills a parameter annotated {kind.__name__}")

    def finish(self, closes: Sequence[Close]) -> None:
        """Close the deliveries inside the transaction. Raises `LostClaim`, `NoTransaction`."""
        if self._expired:
            raise finishing.lost_claim(closes)
        self._refuse_ended()
        with translated(self.connection):
            finishing.finish(self._transaction, closes)

    def _refuse_ended(self) -> None:
        raw = self.connection.connection
        if raw is None or self.connection.closed_in_transaction:
            return  # the next statement says so
        is_open = raw.in_transaction if self.connection.vendor == "sqlite" else raw.info.transaction_status
        if not is_open:
            raise finishing.ended_early()

    def expire(self) -> None:
        """Cancel the statement that runs, and let nothing of this transaction be committed."""
        with self._mutex:
            if self._ended:
                return
            self._expired = True
            raw = self.connection.connection
            stop: Callable[[Any], None] = (
                self._stop_sqlite if self.connection.vendor == "sqlite" else _stop_statement
            )
            stop(raw)

    def _stop_sqlite(self, raw: sqlite3.Connection) -> None:
        """Roll back below Django, and deny everything else on the connection, which is closed at the end."""
        raw.interrupt()
        with self._by_ourselves(), contextlib.suppress(sqlite3.Error):
            raw.set_authorizer(self._authorize)
            raw.rollback()

    @contextlib.contextmanager
    def _by_ourselves(self) -> Any:
        self._own_call.active = True
        try:
            yield
        finally:
            self._own_call.active = False

    def _authorize(self, *_: object) -> int:
        return _ALLOWED if getattr(self._own_call, "active", False) else sqlite3.SQLITE_DENY


def _stop_statement(raw: Any) -> None:
    with contextlib.suppress(Exception):  # an error of psycopg: it ran no statement, or is gone
        raw.cancel_safe(timeout=2)


def _reset(connection: Any) -> None:
    """Bring the connection of a worker's thread into autocommit mode, which atomic blocks begin from."""
    renew(connection)
    if not connection.get_autocommit():
        connection.set_autocommit(True)
