"""The kinds of SQLAlchemy that the matrix is run on: sessions, connections, and those of coroutines."""

from __future__ import annotations

import contextlib
import functools

from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from tests.servers import new_database
from tests.transactions.kinds import AsyncKind, SyncKind, memory_folder
from whereupon.contrib.sqlalchemy import SQLAlchemyLedger

_INSERT = text("INSERT INTO business VALUES (:number)")


def _urls(driver: str) -> list[str]:
    if "sqlite" in driver:
        folder = memory_folder()
        return [f"sqlite+{driver}:///{folder}/{name}.sqlite3" for name in ("ledger", "other")]
    return [new_database().replace("postgresql:", f"postgresql+{driver}:") for _ in range(2)]


class SQLAlchemy(SyncKind):
    """A `Session` or a `Connection`."""

    def __init__(self, name: str, driver: str, *, session: bool) -> None:
        self.name = name
        self._session = session
        self._engine, self._other = map(create_engine, _urls(driver))
        self.ledger = SQLAlchemyLedger(self._engine)
        self.prepare(self.ledger, SQLAlchemyLedger(self._other))

    @contextlib.contextmanager
    def transaction(self, engine=None):
        engine = engine or self._engine
        with Session(engine) if self._session else engine.connect() as on, on.begin():
            yield on

    def savepoint(self, on):
        return on.begin_nested()

    @contextlib.contextmanager
    def autocommit(self):
        engine = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        with Session(engine) if self._session else engine.connect() as on:
            yield on

    def elsewhere(self):
        return self.transaction(self._other)

    def write(self, on, number: int) -> None:
        on.execute(_INSERT, {"number": number})

    def close(self) -> None:
        self._engine.dispose()
        self._other.dispose()


class AsyncSQLAlchemy(AsyncKind):
    """An `AsyncSession` or an `AsyncConnection`."""

    def __init__(self, name: str, driver: str, *, session: bool) -> None:
        super().__init__()
        self.name = name
        self._session = session
        self._engine, self._other = map(create_async_engine, _urls(driver))
        self.ledger = SQLAlchemyLedger(self._engine)
        self.prepare(self.ledger, SQLAlchemyLedger(self._other))

    @contextlib.contextmanager
    def transaction(self, engine=None):
        engine = engine or self._engine
        with self.entered(AsyncSession(engine) if self._session else engine.connect()) as on:
            with self.entered(on.begin()):
                yield on

    @contextlib.contextmanager
    def savepoint(self, on):
        with self.entered(on.begin_nested()):
            yield

    @contextlib.contextmanager
    def autocommit(self):
        engine = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        with self.entered(AsyncSession(engine) if self._session else engine.connect()) as on:
            yield on

    def elsewhere(self):
        return self.transaction(self._other)

    def write(self, on, number: int) -> None:
        self.run(on.execute(_INSERT, {"number": number}))

    def close(self) -> None:
        self.run(self._engine.dispose())
        self.run(self._other.dispose())
        super().close()


SQLALCHEMY_KINDS = {
    f"{'Session' if session else 'Connection'}, {driver}": functools.partial(
        SQLAlchemy, f"{'Session' if session else 'Connection'}, {driver}", driver, session=session
    )
    for driver, session in (("pysqlite", True), ("pysqlite", False), ("psycopg", True), ("psycopg", False))
} | {
    f"Async{'Session' if session else 'Connection'}, {driver}": functools.partial(
        AsyncSQLAlchemy, f"Async{'Session' if session else 'Connection'}, {driver}", driver, session=session
    )
    for driver, session in (("aiosqlite", True), ("asyncpg", True), ("psycopg", True), ("asyncpg", False))
}
