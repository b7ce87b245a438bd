"""The open transaction of a test, lent to an atomic subscriber that is delivered to in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from whereupon.contrib.sqlalchemy.joining import Joinable


def is_open(on: Joinable) -> bool:
    """Tell whether a session lies in the transaction of a connection, so that its commit ends a savepoint."""
    session = on.sync_session if isinstance(on, AsyncSession) else on
    bind = session.bind if isinstance(session, Session) else None
    return isinstance(bind, Connection) and bind.in_transaction()


class Lent:
    """What an atomic subscriber gets instead of a transaction of its own: the one that a test has open."""

    def __init__(self, on: Joinable) -> None:
        self._on = on
        self.connection: Any = on

    def argument(self, kind: type) -> object:
        """Return what a parameter of this type gets."""
        self.connection = self._argument(kind)
        return self.connection

    def _argument(self, kind: type) -> object:
        on: Any = self._on
        if kind is Session and isinstance(on, AsyncSession):
            return on.sync_session
        if kind in (Session, Connection) and isinstance(on, AsyncConnection):
            on = on.sync_connection
        if kind is AsyncSession and isinstance(on, AsyncConnection):
            return AsyncSession(on, join_transaction_mode="create_savepoint", expire_on_commit=False)
        if kind is Session and isinstance(on, Connection):
            return Session(on, join_transaction_mode="create_savepoint")
        if kind is Connection and isinstance(on, Session | AsyncSession):
            return (on.sync_session if isinstance(on, AsyncSession) else on).connection()
        return on

    async def run(self, function: Callable[[], Any]) -> Any:
        """Call a subscriber that is a plain function from a coroutine."""
        if isinstance(self._on, AsyncSession | AsyncConnection):
            return await self._on.run_sync(lambda _: function())
        return function()
