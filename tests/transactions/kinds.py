"""The kinds of connections that the matrix is run on: how each begins, nests and ends its transactions."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

import psycopg

from tests.servers import new_database
from whereupon import SQLiteLedger, apublish_many, publish_many
from whereupon.ledger import PostgresLedger

_numbers = itertools.count()


def memory_folder() -> Path:
    """Make a folder that needs no disk, where there is one: the cases commit thousands of times."""
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    return Path(tempfile.mkdtemp(prefix="whereupon-", dir=memory))


class SyncKind:
    """What the kinds of plain connections share."""

    implicit = False

    def publish(self, events, on) -> None:
        publish_many(events, on=on)

    def reset(self) -> None:
        """Empty the tables for the next case."""
        with self.ledger.transaction() as transaction:
            for table in ("business", "whereupon_event", "whereupon_delivery"):
                transaction.run(f"DELETE FROM {table}")

    def reading(self):
        return self.ledger.reading()

    def written(self) -> list[int]:
        with self.ledger.reading() as transaction:
            return [row[0] for row in transaction.rows("SELECT number FROM business")]

    def prepare(self, *ledgers) -> None:
        for ledger in ledgers:
            ledger.migrate()
            with ledger.transaction() as transaction:
                transaction.run("CREATE TABLE IF NOT EXISTS business (number INTEGER)")

    def close(self) -> None:
        """End what is open."""


class SQLite3(SyncKind):
    """sqlite3: its legacy mode, `isolation_level=None`, and the two new modes of Python 3.12."""

    def __init__(self, name: str, **options: Any) -> None:
        self.name = name
        self._options = options
        self._folder = memory_folder()
        self.ledger = SQLiteLedger(self._folder / "ledger.sqlite3")
        self._other = SQLiteLedger(self._folder / "other.sqlite3")
        self.prepare(self.ledger, self._other)

    def _connect(self, path: Path):
        return contextlib.closing(sqlite3.connect(path, **self._options))

    @property
    def _begins_itself(self) -> bool:
        return self._options.get("autocommit", -1) is False or self._options == {}

    @contextlib.contextmanager
    def transaction(self, path: Path | None = None):
        with self._connect(path or self.ledger.path) as connection:
            if not self._begins_itself:
                connection.execute("BEGIN IMMEDIATE")
            elif self._options == {}:
                connection.execute(
                    "DELETE FROM business WHERE 0"
                )  # a savepoint would begin one that RELEASE ends
            try:
                yield connection
            except BaseException:
                connection.rollback() if self._begins_itself else connection.execute("ROLLBACK")
                raise
            connection.commit() if self._begins_itself else connection.execute("COMMIT")

    @contextlib.contextmanager
    def savepoint(self, on):
        name = f"s{next(_numbers)}"
        on.execute(f"SAVEPOINT {name}")
        try:
            yield
        except BaseException:
            on.execute(f"ROLLBACK TO {name}")
            raise
        finally:
            on.execute(f"RELEASE {name}")

    def autocommit(self):
        return contextlib.closing(sqlite3.connect(self.ledger.path, isolation_level=None))

    def elsewhere(self):
        return self.transaction(self._other.path)

    def write(self, on, number: int) -> None:
        on.execute("INSERT INTO business VALUES (?)", (number,))


class Psycopg(SyncKind):
    """psycopg 3: with its own BEGIN, and in autocommit with `transaction()`."""

    def __init__(self, name: str, *, autocommit: bool) -> None:
        self.name = name
        self._autocommit = autocommit
        self._stack = contextlib.ExitStack()
        self.ledger = PostgresLedger(new_database())
        self._other = PostgresLedger(new_database())
        self.prepare(self.ledger, self._other)

    @contextlib.contextmanager
    def transaction(self, url: str | None = None):
        connection = self._connection(url or self.ledger.url)
        if self._autocommit:
            with connection.transaction():
                yield connection
            return
        try:
            yield connection
        except BaseException:
            connection.rollback()
            raise
        connection.commit()

    @functools.cache
    def _connection(self, url: str):
        return self._stack.enter_context(
            contextlib.closing(psycopg.connect(url, autocommit=self._autocommit))
        )

    def close(self) -> None:
        self._stack.close()

    def savepoint(self, on):
        on.execute("SELECT 1")  # so that transaction() is a savepoint in a transaction that has begun
        return on.transaction()

    def autocommit(self):
        return contextlib.closing(psycopg.connect(self.ledger.url, autocommit=True))

    def elsewhere(self):
        return self.transaction(self._other.url)

    def write(self, on, number: int) -> None:
        on.execute("INSERT INTO business VALUES (%s)", (number,))


class AsyncKind(SyncKind):
    """What the kinds of async connections share: a loop in which each step of a case is run to its end."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()

    def run(self, coroutine) -> Any:
        return self.runner.run(coroutine)

    @contextlib.contextmanager
    def entered(self, manager):
        value = self.run(manager.__aenter__())
        try:
            yield value
        except BaseException as error:
            if not self.run(manager.__aexit__(type(error), error, error.__traceback__)):
                raise
        else:
            self.run(manager.__aexit__(None, None, None))

    def publish(self, events, on) -> None:
        self.run(apublish_many(events, on=on))

    def close(self) -> None:
        self.runner.close()


class AsyncPsycopg(AsyncKind):
    """psycopg 3, with coroutines."""

    name = "psycopg, async"

    def __init__(self) -> None:
        super().__init__()
        self._opened: list[psycopg.AsyncConnection] = []
        self.ledger = PostgresLedger(new_database())
        self._other = PostgresLedger(new_database())
        self.prepare(self.ledger, self._other)

    @contextlib.contextmanager
    def transaction(self, url: str | None = None):
        connection = self._connection(url or self.ledger.url)
        try:
            yield connection
        except BaseException:
            self.run(connection.rollback())
            raise
        self.run(connection.commit())

    @functools.cache
    def _connection(self, url: str):
        connection = self.run(psycopg.AsyncConnection.connect(url))
        self._opened.append(connection)
        return connection

    def close(self) -> None:
        for connection in self._opened:
            self.run(connection.close())
        super().close()

    @contextlib.contextmanager
    def savepoint(self, on):
        self.run(on.execute("SELECT 1"))
        with self.entered(on.transaction()):
            yield

    @contextlib.contextmanager
    def autocommit(self):
        connection = self.run(psycopg.AsyncConnection.connect(self.ledger.url, autocommit=True))
        with self.entered(connection):
            yield connection

    def elsewhere(self):
        return self.transaction(self._other.url)

    def write(self, on, number: int) -> None:
        self.run(on.execute("INSERT INTO business VALUES (%s)", (number,)))


KINDS = {
    "sqlite3": functools.partial(SQLite3, "sqlite3"),
    "sqlite3, isolation_level=None": functools.partial(
        SQLite3, "sqlite3, isolation_level=None", isolation_level=None
    ),
    "psycopg": functools.partial(Psycopg, "psycopg", autocommit=False),
    "psycopg, autocommit": functools.partial(Psycopg, "psycopg, autocommit", autocommit=True),
    "psycopg, async": AsyncPsycopg,
}
if hasattr(sqlite3, "LEGACY_TRANSACTION_CONTROL"):  # Python 3.12
    KINDS |= {
        f"sqlite3, autocommit={value}": functools.partial(
            SQLite3, f"sqlite3, autocommit={value}", autocommit=value
        )
        for value in (False, True)
    }
