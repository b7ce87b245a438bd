"""The transaction of an atomic subscriber on a Django connection: effects and close commit together."""

from __future__ import annotations

import contextlib
import logging
import threading
from typing import TYPE_CHECKING, Any, Self

from django.db import Error as DjangoError

from whereupon.contrib.django.databases import connection_of, dialect_of
from whereupon.contrib.django.transactions import DjangoTransaction, begun, renew, translated
from whereupon.errors import InvalidSubscriber
from whereupon.ledger import finishing
from whereupon.ledger.sqlite_stopping import stop

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from whereupon.deliveries import Close

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
        self._undo: Callable[[], None] = _nothing
        self._guarded = contextlib.ExitStack()
        self._mutex = threading.Lock()

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
            self._guarded.enter_context(connection.execute_wrapper(self._guard))
        return self

    def _guard(self, execute: Callable[..., Any], sql: object, *given: Any) -> Any:
        """Refuse what ends the transaction, and everything once it has expired."""
        self._refuse(sql)
        try:
            return execute(sql, *given)
        finally:
            self._refuse(sql)  # one that was interrupted may end in any way

    def _refuse(self, sql: object) -> None:
        if self._expired:
            raise finishing.stopped()
        finishing.refuse_end(sql)

    def _note_commit(self) -> None:
        self._committed = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._mutex:
            self._ended = True
        self._guarded.close()
        if self._expired:
            self.connection.set_rollback(True)
        try:
            if error is not None:
                self._scope.__exit__(kind, error, trace)  # an error of the subscriber's stays what it is
                return
            with translated(self.connection):
                self._scope.__exit__(None, None, None)
        except Exception:
            if not self._committed:
                raise
            _log.exception("a function given to on_commit failed; the subscriber's transaction is committed")
        finally:
            if self._expired:  # there is nothing to keep of the connection, but Django keeps one in memory
                self._undo()
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
            if self.connection.vendor == "sqlite":
                self._undo = stop(raw)  # below Django
            else:
                _stop_statement(raw)


def _nothing() -> None: ...


def _stop_statement(raw: Any) -> None:
    with contextlib.suppress(Exception):  # an error of psycopg: it ran no statement, or is gone
        raw.cancel_safe(timeout=2)


def _reset(connection: Any) -> None:
    """Bring the connection of a worker's thread into autocommit mode, which atomic blocks begin from."""
    renew(connection)
    if not connection.get_autocommit():
        connection.set_autocommit(True)
