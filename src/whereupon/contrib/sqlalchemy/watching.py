"""What became of an event that was published in a session or on a connection. For tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import Session, SessionTransaction

if TYPE_CHECKING:
    from collections.abc import Callable

    from whereupon.contrib.sqlalchemy.joining import Joinable
    from whereupon.ledger_protocol import Fate


def watch(on: Joinable) -> Callable[[], Fate]:
    """Note an event in the transaction of a session or connection, and return what tells its fate.

    The events of SQLAlchemy tell: nothing is written, so nothing is waited for.
    """
    if isinstance(on, AsyncSession):
        return _SessionWatch(on.sync_session).fate
    if isinstance(on, Session):
        return _SessionWatch(on).fate
    if isinstance(on, AsyncConnection):
        return _ConnectionWatch(on.sync_connection).fate if on.sync_connection else _pending
    return _ConnectionWatch(on).fate


def _pending() -> Fate:
    return "pending"


class _SessionWatch:
    """Follows the transaction of a session, or the savepoint that is open in it, to its end."""

    def __init__(self, session: Session) -> None:
        self._fate: Fate = "pending"
        inner = session.get_nested_transaction() or session.get_transaction() or session.begin()
        self._around = [inner]
        while self._around[-1].parent is not None:
            self._around.append(self._around[-1].parent)
        event.listen(session, "after_soft_rollback", self._rolled_back)
        event.listen(session, "after_commit", self._committed)
        event.listen(session, "after_transaction_end", self._ended)

    def fate(self) -> Fate:
        return self._fate

    def _rolled_back(self, session: Session, transaction: SessionTransaction) -> None:
        del session
        if transaction in self._around and self._fate == "pending":
            self._fate = "rolled back"

    def _committed(self, session: Session) -> None:
        if self._fate == "pending" and session.get_nested_transaction() is None:
            self._fate = "committed"

    def _ended(self, session: Session, transaction: SessionTransaction) -> None:
        """Notice that the session was closed without an end of its transaction, which rolls it back."""
        del session
        if transaction is self._around[-1] and self._fate == "pending":
            self._fate = "rolled back"


class _ConnectionWatch:
    """Follows the transaction of a connection to its end.

    Savepoints are a stack: those that were opened after the event end first. One that is rolled back when
    they have ended takes the event along.
    """

    def __init__(self, connection: Connection) -> None:
        self._fate: Fate = "pending"
        self._later = 0
        if not connection.in_transaction():
            connection.begin()
        event.listen(connection, "commit", self._committed)
        event.listen(connection, "rollback", self._rolled_back)
        event.listen(connection, "savepoint", self._opened)
        event.listen(connection, "rollback_savepoint", self._undone)
        event.listen(connection, "release_savepoint", self._released)

    def fate(self) -> Fate:
        return self._fate

    def _committed(self, connection: Connection) -> None:
        del connection
        if self._fate == "pending":
            self._fate = "committed"

    def _rolled_back(self, connection: Connection) -> None:
        del connection
        if self._fate == "pending":
            self._fate = "rolled back"

    def _opened(self, connection: Connection, name: str | None) -> None:
        del connection, name
        self._later += 1

    def _released(self, connection: Connection, name: str, context: None) -> None:
        del connection, name, context
        self._later = max(0, self._later - 1)

    def _undone(self, connection: Connection, name: str, context: None) -> None:
        del name, context
        if self._later:
            self._later -= 1
        else:
            self._rolled_back(connection)
