"""The transaction of an atomic subscriber that is a coroutine function."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from typing import TYPE_CHECKING, Any, Final, Self

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

from whereupon.contrib.sqlalchemy.guarding import Guard
from whereupon.contrib.sqlalchemy.transaction import SQLAlchemyTransaction, meaning_of, translated
from whereupon.errors import LedgerBusy, LedgerUnavailable
from whereupon.ledger import finishing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

    from sqlalchemy import Connection

    from whereupon.deliveries import Close
    from whereupon.ledger.dialect import Dialect

_PATIENCE: Final = 30.0
"""Seconds that a transaction waits for the lock of a SQLite file."""
_SLEEP: Final = 0.005


class AsyncSQLAlchemyAtomic:
    """One transaction on a connection of the engine, which only whereupon can end; see `SQLAlchemyAtomic`."""

    def __init__(self, engine: AsyncEngine, dialect: Dialect, database: str, path: Path | None) -> None:
        self._engine = engine
        self._dialect = dialect
        self._database = database
        self._path = path
        self._session: AsyncSession | None = None
        self.connection: Any = None

    async def __aenter__(self) -> Self:
        with self._translated():
            self._opened = await self._engine.connect()
            try:
                self._guard = Guard(_sync(self._opened))
                await self._opened.begin()
                if self._path is not None:
                    await self._begin_immediately()
                else:
                    await self._opened.exec_driver_sql("SELECT 1")  # which begins the driver's transaction
            except BaseException:
                await self._close()
                raise
        self.connection = self._opened
        return self

    def _translated(self) -> contextlib.AbstractContextManager[None]:
        return translated(self._database, self._path)

    async def _begin_immediately(self) -> None:
        """Take the lock of the file, in short sleeps of random length; see `patiently`."""
        if await self._in_transaction():  # of an event of the application, or of autocommit=False
            await self._opened.exec_driver_sql("ROLLBACK")
        self._busy_timeout = (await self._opened.exec_driver_sql("PRAGMA busy_timeout")).scalar_one()
        await self._opened.exec_driver_sql("PRAGMA busy_timeout = 0")
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                await self._opened.exec_driver_sql("BEGIN IMMEDIATE")
                break
            except DBAPIError as error:
                busy = isinstance(meaning_of(error, self._database, self._path), LedgerBusy)
                if not busy or time.monotonic() > deadline:
                    raise
            await asyncio.sleep(random.uniform(_SLEEP / 2, _SLEEP))  # noqa: S311 - jitter
        await self._opened.exec_driver_sql(f"PRAGMA busy_timeout = {int(self._busy_timeout)}")

    async def _in_transaction(self) -> bool:
        """Ask the driver, which knows of a COMMIT in SQL."""
        driver: Any = (await self._opened.get_raw_connection()).driver_connection
        if self._path is not None:
            return bool(driver.in_transaction)
        if self._opened.dialect.driver == "asyncpg":
            return bool(driver.is_in_transaction())
        return bool(driver.info.transaction_status)  # IDLE is 0

    def argument(self, kind: type) -> AsyncSession | AsyncConnection:
        """Return the connection, or a session on it."""
        if kind is not AsyncSession:
            return self._opened
        if self._session is None:
            self._session = AsyncSession(
                self._opened, join_transaction_mode="create_savepoint", expire_on_commit=False
            )
            self.connection = self._session
        return self._session

    async def finish(self, closes: Sequence[Close]) -> None:
        """Flush the session and close the deliveries inside the transaction. Raises `LostClaim`."""
        await self._settle()
        with self._translated():
            await self._opened.run_sync(self._finish, closes)

    def _finish(self, connection: Connection, closes: Sequence[Close]) -> None:
        finishing.finish(SQLAlchemyTransaction(connection, self._dialect), closes)

    async def _settle(self) -> None:
        if self._session is not None:
            await self._session.commit()
        if not await self._in_transaction():
            raise finishing.ended_early()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                await self._settle()
                self._guard.lift()
                await self._commit()
        finally:
            await self._close()

    async def _commit(self) -> None:
        with self._translated():
            try:
                await self._opened.commit()
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
                raise LedgerUnavailable(
                    "the server went away while a transaction was committed",
                    retry_is_safe=False,
                    fix="look whether the business rows are there before trying again",
                ) from error.orig

    async def _close(self) -> None:
        """Roll back what was not committed, and give the connection back to the pool."""
        self._guard.lift()
        if self._session is not None:
            with contextlib.suppress(SQLAlchemyError):  # the connection may be gone
                await self._session.close()
        await self._opened.close()


def _sync(connection: AsyncConnection) -> Connection:
    found = connection.sync_connection
    assert found is not None  # noqa: S101 - it was awaited
    return found
