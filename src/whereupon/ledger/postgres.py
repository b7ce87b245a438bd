"""The ledger in a PostgreSQL database, through psycopg 3."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from whereupon.errors import InvalidConfiguration
from whereupon.ledger import psycopg_joining as joining
from whereupon.ledger import publish, versions
from whereupon.ledger.dialect import Dialect
from whereupon.ledger.lending import LentConnection
from whereupon.ledger.pool import Pool
from whereupon.ledger.psycopg_atomic import PsycopgAtomic
from whereupon.ledger.psycopg_connection import (
    PsycopgConnection,
    PsycopgTransaction,
    check_conninfo,
    describe,
    server_findings,
)
from whereupon.ledger.schema import VERSION
from whereupon.ledger.transactions import transaction_faults

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from whereupon.errors import WhereuponError
    from whereupon.ledger_protocol import Fate, Finding, Record
    from whereupon.subscriptions import Subscription


@dataclass(frozen=True, slots=True)
class PostgresLedger:
    """The durable record of deliveries in the application's PostgreSQL database, version 13 or newer.

    - `url`: a connection string or URL of libpq; `postgresql://user@host/database`
    - `own_transaction`: publish without `on=` commits on its own; without it, that is `NoTransaction`
    - `schema`: where the tables are; the connection's search path by default
    - `pooled`: a pooler in transaction mode (PgBouncer) lies between: nothing is listened for, prepared or
      set for a session, and workers look for new deliveries twice a second
    - `patience`: how long another transaction may hold a lock before `LedgerBusy` is raised

    Raises `InvalidConfiguration`.
    """

    url: str = field(repr=False)
    own_transaction: bool = False
    schema: str = ""
    pooled: bool = False
    patience: timedelta = timedelta(seconds=5)
    _pool: Pool[PsycopgConnection] = field(default_factory=Pool, init=False, repr=False, compare=False)
    _lent_pool: Pool[PsycopgConnection] = field(default_factory=Pool, init=False, repr=False, compare=False)
    _ids: list[str] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_conninfo(self.url)
        if self.patience <= timedelta(0):
            raise InvalidConfiguration(f"patience= takes more than zero, not {self.patience}")

    @property
    def dialect(self) -> Dialect:
        """Which SQL the ledger's own connections speak."""
        return Dialect("postgresql", "pyformat", self.schema)

    @property
    def takes_turns(self) -> bool:
        """Tell that atomic subscribers run beside each other."""
        return False

    @property
    def atomic_timeout(self) -> timedelta | None:
        """The time limit of an atomic subscriber that names none: there is none."""
        return None

    def faults_of(self, subscription: Subscription) -> Iterable[WhereuponError]:
        """Yield what this ledger cannot honour of a subscription."""
        return transaction_faults(subscription, joining.TRANSACTION_TYPES)

    def write(self, records: Sequence[Record], on: object | None, *, strict: bool = True) -> None:  # noqa: ARG002
        """Write records in the transaction of `on`, a `psycopg.Connection`, or in one of their own."""
        connection = joining.joinable(on, own_transaction=self.own_transaction)
        if connection is None:
            with self.transaction() as transaction:
                publish.write(transaction, records)
        else:
            joining.join(connection, self.dialect, records, self._ledger_id())

    async def awrite(self, records: Sequence[Record], on: object | None, *, strict: bool = True) -> None:
        """Write records from a coroutine; in a transaction of their own, in a thread."""
        import asyncio

        connection = joining.joinable(on, own_transaction=self.own_transaction)
        if connection is None:
            await asyncio.to_thread(self.write, records, None, strict=strict)
        else:
            expected = self._ids[0] if self._ids else await asyncio.to_thread(self._ledger_id)
            await joining.ajoin(connection, self.dialect, records, expected)

    def refuse_to_join(self, on: object | None) -> None:
        """Raise where an event published on `on` could not commit with anything."""
        joining.joinable(on, own_transaction=self.own_transaction)

    def lend(self, on: object | None, fate: Fate) -> LentConnection | None:
        """Return the transaction that a test has open on a connection, for an atomic subscriber to run in."""
        return LentConnection(on) if isinstance(on, joining.TRANSACTION_TYPES) and fate == "pending" else None

    def scope(self) -> contextlib.nullcontext[None]:
        """Return what surrounds each call of a subscriber in a worker: nothing."""
        return contextlib.nullcontext()

    def watch(self, on: object | None, event_id: str) -> Callable[[], Fate]:
        """Note that an event is published on `on`, and return what tells its fate. For tests."""
        connection = joining.joinable(on, own_transaction=self.own_transaction)
        return joining.watch(connection, event_id) if connection else lambda: "committed"

    def _ledger_id(self) -> str:
        if not self._ids:
            with self.reading() as transaction:
                self._ids.append(versions.ledger_id(transaction))
        return self._ids[0]

    @contextlib.contextmanager
    def transaction(self) -> Iterator[PsycopgTransaction]:
        """Open a transaction on a connection of the ledger's own.

        Raises `LedgerMissing`, `LedgerVersion`, `LedgerBusy`, `LedgerUnavailable`.
        """
        with self._pool.borrowed(self.connect) as connection, connection.transaction() as transaction:
            yield transaction

    @contextlib.contextmanager
    def reading(self) -> Iterator[PsycopgTransaction]:
        """Open a transaction that only reads, on a connection of the ledger's own. Raises as above."""
        with self._pool.borrowed(self.connect) as connection, connection.reading() as transaction:
            yield transaction

    def atomic(self) -> PsycopgAtomic:
        """Return the transaction for one call of an atomic subscriber, to be entered."""
        return PsycopgAtomic(self.url, self._lent(), self.dialect)

    @contextlib.contextmanager
    def _lent(self) -> Iterator[Any]:
        """Lend a connection to a subscriber; it is kept for the next one where nothing was raised."""
        with self._lent_pool.borrowed(lambda: self.open().for_subscribers()) as connection:
            yield connection.raw

    def connect(self, patience: timedelta | None = None) -> PsycopgConnection:
        """Open a connection of one's own to a ledger that is there and of this version.

        `patience` is how long it waits for a lock. Raises `LedgerMissing`, `LedgerVersion`,
        `LedgerUnavailable`.
        """
        connection = self.open(patience)
        try:
            with connection.reading() as transaction:
                versions.refuse_other(transaction, self.describe())
        except BaseException:
            connection.close()
            raise
        return connection

    def open(self, patience: timedelta | None = None) -> PsycopgConnection:
        """Open a connection of one's own, whether there is a ledger or not. Raises `LedgerUnavailable`."""
        return PsycopgConnection(self.url, self.dialect, patience or self.patience, pooled=self.pooled)

    def migrate(self) -> tuple[int, int]:
        """Make the tables, or bring them up to date; return the versions before and after.

        One of several at once does it, the others wait. Raises `LedgerVersion`, `LedgerUnavailable`.
        """
        connection = self.open(timedelta(minutes=1))
        with contextlib.closing(connection), connection.transaction() as transaction:
            before = versions.migrate(transaction, self.describe())
        return before, VERSION

    def version(self) -> int:
        """Return the version of the tables, 0 where there are none."""
        with contextlib.closing(self.open()) as connection, connection.reading() as transaction:
            return versions.version_of(transaction)

    def describe(self) -> str:
        """Say which database this is, without the password."""
        return describe(self.url) + (f" (schema {self.schema})" if self.schema else "")

    def findings(self) -> Iterator[Finding]:
        """Yield what `whereupon doctor` says about the server."""
        with contextlib.closing(self.connect()) as connection, connection.reading() as transaction:
            yield from server_findings(transaction)
