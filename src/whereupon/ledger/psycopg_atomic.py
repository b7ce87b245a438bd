"""The transaction of an atomic subscriber on PostgreSQL: its effects and the close commit together."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Self

import psycopg
from psycopg.pq import TransactionStatus

from whereupon.ledger import finishing
from whereupon.ledger.psycopg_connection import PsycopgTransaction, ended, translated

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from whereupon.deliveries import Close
    from whereupon.ledger.dialect import Dialect


class PsycopgAtomic:
    """One transaction on a connection that only whereupon can end: psycopg refuses commit and rollback in it.

    `expire` may be called from another thread: the statement that runs is cancelled, and whatever the
    subscriber still does is rolled back.
    """

    def __init__(
        self,
        conninfo: str,
        borrow: contextlib.AbstractContextManager[psycopg.Connection[Any]],
        dialect: Dialect,
    ) -> None:
        self._conninfo = conninfo
        self._borrow = borrow
        self._dialect = dialect
        self._expired = False
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with translated(self._conninfo), contextlib.ExitStack() as stack:
            self.connection: psycopg.Connection[Any] = stack.enter_context(self._borrow)
            stack.enter_context(ended(self.connection))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ours = translated(self._conninfo) if error is None else contextlib.nullcontext()
        with ours:  # an error of the subscriber's own stays what it is
            self._stack.__exit__(kind, error, trace)

    def argument(self, kind: type) -> psycopg.Connection[Any]:  # noqa: ARG002 - there is one kind
        """Return the connection."""
        return self.connection

    def finish(self, closes: Sequence[Close]) -> None:
        """Close the deliveries inside the transaction. Raises `LostClaim`."""
        if self.connection.info.transaction_status == TransactionStatus.IDLE:
            raise finishing.ended_early()
        if self._expired:
            raise finishing.lost_claim(closes)
        with translated(self._conninfo):
            finishing.finish(PsycopgTransaction(self.connection, self._dialect), closes)

    def expire(self) -> None:
        """Cancel the statement that runs, and let nothing of this transaction be committed."""
        self._expired = True
        with contextlib.suppress(psycopg.Error):
            self.connection.cancel_safe(timeout=2)
