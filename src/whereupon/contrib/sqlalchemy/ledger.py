"""The ledger in the database of an application that uses SQLAlchemy."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from whereupon.contrib.sqlalchemy import joining
from whereupon.contrib.sqlalchemy.async_atomic import AsyncSQLAlchemyAtomic
from whereupon.contrib.sqlalchemy.atomic import SQLAlchemyAtomic
from whereupon.contrib.sqlalchemy.engines import application_engine, own_engine
from whereupon.contrib.sqlalchemy.lending import Lent, is_open
from whereupon.contrib.sqlalchemy.transaction import dialect_of, translated
from whereupon.contrib.sqlalchemy.watching import watch
from whereupon.errors import InvalidConfiguration
from whereupon.ledger import publish, versions
from whereupon.ledger.sqlite import SQLiteLedger
from whereupon.ledger.transactions import transaction_faults

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import timedelta
    from pathlib import Path

    from whereupon.errors import WhereuponError
    from whereupon.ledger.dialect import Dialect
    from whereupon.ledger.postgres import PostgresLedger
    from whereupon.ledger_protocol import Connection as LedgerConnection
    from whereupon.ledger_protocol import Fate, Finding, Record, Transaction
    from whereupon.subscriptions import Subscription


class SQLAlchemyLedger:
    """The durable record of deliveries in the database of an engine, SQLite or PostgreSQL.

    - `engine`: an `Engine` or `AsyncEngine`, the one that the application's sessions use
    - `own_transaction`: publish without `on=` commits on its own; without it, that is `NoTransaction`
    - `schema`: where the tables are, on PostgreSQL; the connection's search path by default
    - `sync_engine`: for the ledger's own connections, where `engine` is an `AsyncEngine`; one on the same
      URL by default (asyncpg: with psycopg 3), which knows nothing of the engine's `connect_args` and events

    Making it opens nothing. What it needs connections of its own for, in workers and commands, goes through
    those of `SQLiteLedger` on the engine's file, which wait for its lock patiently, and of `PostgresLedger`,
    which are told of commits. On PostgreSQL they are opened as the engine opens its own. What is published
    with `on=`, and atomic subscribers, use the engine's connections.

    Raises `InvalidConfiguration`.
    """

    def __init__(
        self,
        engine: Engine | AsyncEngine,
        *,
        own_transaction: bool = False,
        schema: str = "",
        sync_engine: Engine | None = None,
    ) -> None:
        self._engine = application_engine(engine)
        self._async_engine = engine if isinstance(engine, AsyncEngine) else None
        self._sync_engine = own_engine(self._engine, sync_engine)
        self._own_transaction = own_transaction
        self._ids: list[str] = []
        self._path: Path | None = None
        self._own: SQLiteLedger | PostgresLedger
        if self._engine.dialect.name == "sqlite":
            self._own = _sqlite_ledger(self._engine, schema, own_transaction=own_transaction)
            self._path = self._own.path
        else:
            from whereupon.contrib.sqlalchemy.psycopg_own import engine_ledger

            self._own = engine_ledger(self._sync_engine, schema, own_transaction=own_transaction)
        self._joined_dialect = dialect_of(self._engine, schema)
        for each in {self._engine, self._sync_engine}:
            joining.repair_savepoints(each)

    def __repr__(self) -> str:
        return f"SQLAlchemyLedger({self.describe()})"

    @property
    def dialect(self) -> Dialect:
        """Which SQL the ledger's own connections speak."""
        return self._own.dialect

    @property
    def takes_turns(self) -> bool:
        """Tell whether atomic subscribers run one at a time: on SQLite each holds the lock of the file."""
        return self._own.takes_turns

    @property
    def atomic_timeout(self) -> timedelta | None:
        """The time limit of an atomic subscriber that names none."""
        return self._own.atomic_timeout

    def faults_of(self, subscription: Subscription) -> Iterable[WhereuponError]:
        """Yield what this ledger cannot honour of a subscription."""
        async_kinds = (AsyncSession, AsyncConnection) if self._async_engine else ()
        return transaction_faults(subscription, (Session, Connection), async_kinds)

    def write(self, records: Sequence[Record], on: object | None, *, strict: bool = True) -> None:  # noqa: ARG002
        """Write records in the transaction of `on`, a session or connection, or in one of their own."""
        found = joining.joinable(on, own_transaction=self._own_transaction)
        if found is None:
            with self.transaction() as transaction:
                publish.write(transaction, records)
        else:
            self._join(joining.refuse_coroutines(found), records, self._identity())

    async def awrite(self, records: Sequence[Record], on: object | None, *, strict: bool = True) -> None:
        """Write records from a coroutine, without blocking where `on` is one of coroutines."""
        import asyncio

        found = joining.joinable(on, own_transaction=self._own_transaction)
        if found is None:
            await asyncio.to_thread(self.write, records, None, strict=strict)
            return
        is_known = self._path is not None or bool(self._ids)
        expected = self._identity() if is_known else await asyncio.to_thread(self._identity)
        if isinstance(found, AsyncSession | AsyncConnection):
            await found.run_sync(self._join, records, expected)
        else:
            self._join(found, records, expected)

    def _join(self, on: joining.Sync, records: Sequence[Record], expected: str | Path) -> None:
        with translated(self.describe(), self._path):
            connection = joining.connection_of(on, self._engine)
            joining.join(
                connection, dialect_of(connection.engine, self._joined_dialect.schema), records, expected
            )

    def refuse_to_join(self, on: object | None) -> None:
        """Raise where an event published on `on` could not commit with anything.

        Of a session or connection of coroutines that cannot be told without waiting; `apublish` tells.
        """
        found = joining.joinable(on, own_transaction=self._own_transaction)
        if isinstance(found, Session | Connection):
            joining.connection_of(found, self._engine)

    def watch(self, on: object | None, event_id: str) -> Callable[[], Fate]:  # noqa: ARG002
        """Note that an event is published on `on`, and return what tells its fate. For tests."""
        found = joining.joinable(on, own_transaction=self._own_transaction)
        return watch(found) if found is not None else lambda: "committed"

    def lend(self, on: object | None, fate: Fate) -> Lent | None:
        """Return the transaction of a test for an atomic subscriber to run in, while it is open."""
        found = joining.joinable(on, own_transaction=True)
        return Lent(found) if found is not None and (fate == "pending" or is_open(found)) else None

    def scope(self) -> AbstractContextManager[None]:
        """Return what surrounds each call of a subscriber in a worker: nothing."""
        return nullcontext()

    def _identity(self) -> str | Path:
        """Return what tells this ledger from others: its file, or its id, which is read once."""
        if self._path is not None:
            return self._path
        if not self._ids:
            with self.reading() as transaction:
                self._ids.append(versions.ledger_id(transaction))
        return self._ids[0]

    def atomic(self) -> SQLAlchemyAtomic:
        """Return the transaction for one call of an atomic subscriber, to be entered."""
        return SQLAlchemyAtomic(self._sync_engine, self._own)

    def aatomic(self) -> AsyncSQLAlchemyAtomic:
        """Return the transaction for one call of an atomic coroutine, to be entered.

        Raises `InvalidConfiguration` where the ledger was not made with an `AsyncEngine`.
        """
        if self._async_engine is None:
            raise InvalidConfiguration(
                "an atomic subscriber that is a coroutine needs an AsyncEngine",
                fix="SQLAlchemyLedger(create_async_engine(url))",
            )
        return AsyncSQLAlchemyAtomic(self._async_engine, self._joined_dialect, self.describe(), self._path)

    def transaction(self) -> AbstractContextManager[Transaction]:
        """Open a transaction on a connection of the ledger's own.

        Raises `LedgerMissing`, `LedgerVersion`, `LedgerBusy`, `LedgerUnavailable`.
        """
        return self._own.transaction()

    def reading(self) -> AbstractContextManager[Transaction]:
        """Open a transaction that only reads, on a connection of the ledger's own. Raises as above."""
        return self._own.reading()

    def connect(self, patience: timedelta | None = None) -> LedgerConnection:
        """Open a connection of one's own to a ledger that is there and of this version.

        `patience` is how long it waits for a lock. Raises `LedgerMissing`, `LedgerVersion`, `LedgerBusy`,
        `LedgerUnavailable`.
        """
        return self._own.connect(patience)

    def migrate(self) -> tuple[int, int]:
        """Make the tables, or bring them up to date; return the versions before and after.

        A file of SQLite that is not there is made; it is the application's own, whose journal mode is left
        alone. Raises `LedgerVersion`, `LedgerUnavailable`.
        """
        if self._path is not None and not self._path.exists():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.touch()
        return self._own.migrate()

    def version(self) -> int:
        """Return the version of the tables, 0 where there are none."""
        return self._own.version()

    def findings(self) -> Iterator[Finding]:
        """Yield what `whereupon doctor` says about the database."""
        return self._own.findings()

    def describe(self) -> str:
        """Say which database this is, without the password."""
        return self._own.describe()


def _sqlite_ledger(engine: Engine, schema: str, *, own_transaction: bool) -> SQLiteLedger:
    if schema:
        raise InvalidConfiguration("schema= is for PostgreSQL; SQLite has none", fix="leave it out")
    return SQLiteLedger(engine.url.database or "", own_transaction=own_transaction)
