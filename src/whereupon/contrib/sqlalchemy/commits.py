"""Waiting for the commit of a session or connection, for a store without a ledger."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, TwoPhaseTransaction, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import Session, SessionTransaction
from sqlalchemy.util import await_only

from whereupon.contrib.sqlalchemy.joining import joinable
from whereupon.errors import WrongConnection

if TYPE_CHECKING:
    from whereupon.handoff import Dispatch

_WAITING: Final = "whereupon_after_commit"
"""Where `session.info` keeps what waits for its commit, each with the transactions it was published in."""
_connections: WeakKeyDictionary[Connection, _Waiting] = WeakKeyDictionary()


def after_commit(on: object | None, dispatch: Dispatch) -> None:
    """Call `dispatch` when the transaction of a session or connection commits.

    It is dropped when that is rolled back, or a savepoint that was open in it. Without `on` it is called at
    once. With one of asyncio's it is called in a thread; the commit waits for it, and the loop does not.
    A session that was given a connection which is in a transaction already waits for its own commit only.

    Raises `WrongConnection`.
    """
    if on is None:
        dispatch()
        return
    found = joinable(on, own_transaction=True)
    if isinstance(found, AsyncSession | AsyncConnection):
        dispatch = _in_thread(dispatch)
    if isinstance(found, AsyncSession):
        found = found.sync_session
    elif isinstance(found, AsyncConnection):
        found = _started(found)
    if isinstance(found, Session):
        _wait_for_session(found, dispatch)
    elif found is not None:
        _wait_for_connection(found, dispatch)


def _started(connection: AsyncConnection) -> Connection:
    if connection.sync_connection is None:
        raise WrongConnection(
            "the AsyncConnection has not been opened, so it has no transaction",
            fix="open it before publishing: `async with engine.begin() as connection:`",
        )
    return connection.sync_connection


def _in_thread(dispatch: Dispatch) -> Dispatch:
    return lambda: await_only(asyncio.to_thread(dispatch))


def _wait_for_session(session: Session, dispatch: Dispatch) -> None:
    if _WAITING not in session.info:
        session.info[_WAITING] = []
        event.listen(session, "after_commit", _session_committed)
        event.listen(session, "after_soft_rollback", _session_ended)
        event.listen(session, "after_transaction_end", _root_ended)
    inner = session.get_nested_transaction() or session.get_transaction()
    around: list[SessionTransaction] = []
    while inner is not None:
        around.append(inner)
        inner = inner.parent
    session.info[_WAITING].append((around, dispatch))


def _session_committed(session: Session) -> None:
    if session.get_nested_transaction() is None:
        waiting = session.info[_WAITING]
        session.info[_WAITING] = []
        for _, dispatch in waiting:
            dispatch()


def _session_ended(session: Session, transaction: SessionTransaction) -> None:
    """Drop what was published in a transaction that is rolled back; all of it if that is the outermost."""
    waiting = session.info[_WAITING]
    is_root = transaction.parent is None
    session.info[_WAITING] = [each for each in waiting if not (is_root or transaction in each[0])]


def _root_ended(session: Session, transaction: SessionTransaction) -> None:
    """Notice that a session was closed without an end of its transaction, which rolls it back."""
    if transaction.parent is None:
        _session_ended(session, transaction)


def _wait_for_connection(connection: Connection, dispatch: Dispatch) -> None:
    if isinstance(connection.get_transaction(), TwoPhaseTransaction):
        raise WrongConnection(
            "the connection is in a two-phase transaction, whose commit cannot be waited for",
            fix="pass the session, or begin the transaction in one phase",
        )
    waiting = _connections.get(connection)
    if waiting is None:
        waiting = _connections[connection] = _Waiting(connection)
    waiting.add(dispatch)


class _Waiting:
    """What waits for the commit of one connection.

    Savepoints are a stack: those that were opened after a publish end first, and are counted with it. One
    that is rolled back when they have ended takes it along.
    """

    def __init__(self, connection: Connection) -> None:
        self._dispatches: list[Dispatch] = []
        self._later: list[int] = []
        event.listen(connection, "commit", self._committed)
        event.listen(connection, "rollback", self._rolled_back)
        event.listen(connection, "savepoint", self._opened)
        event.listen(connection, "rollback_savepoint", self._undone)
        event.listen(connection, "release_savepoint", self._released)

    def add(self, dispatch: Dispatch) -> None:
        self._dispatches.append(dispatch)
        self._later.append(0)

    def _committed(self, connection: Connection) -> None:
        dispatches = self._dispatches
        self._rolled_back(connection)
        if dispatches:
            _commit_now(connection)
        for dispatch in dispatches:
            dispatch()

    def _rolled_back(self, connection: Connection) -> None:
        del connection
        self._dispatches, self._later = [], []

    def _opened(self, connection: Connection, name: str | None) -> None:
        del connection, name
        self._later = [each + 1 for each in self._later]

    def _released(self, connection: Connection, name: str, context: None) -> None:
        del connection, name, context
        self._later = [max(0, each - 1) for each in self._later]

    def _undone(self, connection: Connection, name: str, context: None) -> None:
        del connection, name, context
        both = zip(self._dispatches, self._later, strict=True)
        self._dispatches = [dispatch for dispatch, later in both if later]
        self._later = [later - 1 for later in self._later if later]


def _commit_now(connection: Connection) -> None:
    """Commit what SQLAlchemy is about to: it tells of a connection's commit before, and not behind."""
    dialect = connection.dialect
    try:
        dialect.do_commit(connection.connection)
    except dialect.loaded_dbapi.Error as error:
        raise DBAPIError.instance(None, None, error, dialect.loaded_dbapi.Error, dialect=dialect) from error
