"""The ledger in the database of a Django project."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import connections

from whereupon.contrib.django import joining
from whereupon.contrib.django.atomic import DjangoAtomic
from whereupon.contrib.django.databases import (
    connection_of,
    describe,
    dialect_of,
    may_meet_a_lock,
    own_ledger,
)
from whereupon.contrib.django.transactions import DjangoTransaction, begun, renew, translated
from whereupon.ledger import publish, versions
from whereupon.ledger.schema import VERSION
from whereupon.ledger.transactions import transaction_faults

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from whereupon.errors import WhereuponError
    from whereupon.ledger.dialect import Dialect
    from whereupon.ledger_protocol import Connection, Fate, Finding, Record
    from whereupon.subscriptions import Subscription


@dataclass(frozen=True, slots=True)
class DjangoLedger:
    """The durable record of deliveries in a database of the project, SQLite or PostgreSQL.

    - `using`: the alias in DATABASES
    - `schema`: where the tables are, on PostgreSQL; the connection's search path by default

    Building one reads no settings and opens nothing. What is published joins the current transaction of the
    alias. Whatever asks for the database raises `InvalidConfiguration` where the alias or its kind of
    database cannot be used.
    """

    using: str = "default"
    schema: str = ""

    @property
    def _connection(self) -> Any:
        return connection_of(self.using)

    @property
    def dialect(self) -> Dialect:
        """Which SQL the ledger's Django connection speaks."""
        return dialect_of(self._connection, self.schema)

    @property
    def takes_turns(self) -> bool:
        """Tell whether atomic subscribers run one at a time: on SQLite they do."""
        return self.dialect.name == "sqlite"

    @property
    def atomic_timeout(self) -> timedelta | None:
        """The time limit of an atomic subscriber that names none: 5 s on SQLite, as it holds the lock."""
        return timedelta(seconds=5) if self.takes_turns else None

    def faults_of(self, subscription: Subscription) -> Iterable[WhereuponError]:
        """Yield what this ledger cannot honour of a subscription."""
        return transaction_faults(subscription, ())

    def write(self, records: Sequence[Record], on: object | None, *, strict: bool = True) -> None:
        """Write records in the current transaction of the alias, or of the alias or connection `on`.

        In autocommit mode: if `strict` that raises `NoTransaction`, otherwise they are written in a
        transaction of their own, and the call site is reported.
        """
        self._write(records, on, strict=strict, site="")

    async def awrite(self, records: Sequence[Record], on: object | None, *, strict: bool = True) -> None:
        """Write records from a coroutine, in the thread where Django runs all that is bound to a thread."""
        from asgiref.sync import sync_to_async

        site = joining.call_site()
        write = sync_to_async(self._write, thread_sensitive=True)
        await write(records, on, strict=strict, site=site)

    def _write(self, records: Sequence[Record], on: object | None, *, strict: bool, site: str) -> None:
        connection = joining.joined(on, self.using)
        transaction = DjangoTransaction(connection, dialect_of(connection, self.schema))
        with translated(connection):
            joining.refuse_other_ledger(connection, self._connection, self.schema)
            if joining.in_transaction(connection):
                publish.write(transaction, records)
                return
            if strict:
                joining.refuse_without_transaction(connection)
            joining.report_alone(site or joining.call_site())
            renew(connection)
            with begun(connection):
                publish.write(transaction, records)

    def refuse_to_join(self, on: object | None) -> None:
        """Raise where an event published on `on` could not commit with anything."""
        joining.refuse_without_transaction(joining.joined(on, self.using))

    def watch(self, on: object | None, event_id: str) -> Callable[[], Fate]:
        """Note that an event is published on `on`, and return what tells its fate. For tests."""
        return joining.watch(joining.joined(on, self.using), event_id)

    def lend(self, on: object | None, fate: Fate) -> None:
        """Lend nothing: `atomic` is a block within those that the test's thread has open."""

    def atomic(self) -> DjangoAtomic:
        """Return the transaction for one call of an atomic subscriber, to be entered."""
        return DjangoAtomic(self.using, self.schema)

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        """Surround a call of a subscriber in a worker as Django surrounds a request.

        Stale connections of the thread are closed before and after, and the log of queries is emptied; not
        inside an atomic block.
        """
        _tidy()
        try:
            yield
        finally:
            _tidy()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[DjangoTransaction]:
        """Open a transaction that writes, on this thread's connection of the alias.

        Inside an atomic block of the application that is Django's RuntimeError for durable blocks, as what is
        claimed has to commit; inside that of a `TestCase` it is a part of the test's transaction. Where
        autocommit is off, it runs on a connection of its own. Raises `LedgerMissing`, `LedgerVersion`,
        `LedgerBusy`, `LedgerUnavailable`.
        """
        connection = self._connection
        with translated(connection):
            renew(connection)
            with begun(connection, durable=True):
                transaction = DjangoTransaction(connection, self.dialect)
                versions.refuse_other(transaction, self.describe())
                yield transaction

    @contextlib.contextmanager
    def reading(self) -> Iterator[DjangoTransaction]:
        """Open a transaction that only reads; it joins the one that this thread has open. Raises as above."""
        connection = self._connection
        transaction = DjangoTransaction(connection, self.dialect)
        with translated(connection):
            renew(connection)
            is_outermost = not joining.in_transaction(connection) and not connection.in_atomic_block
            with begun(connection) if is_outermost else contextlib.nullcontext():
                if is_outermost and transaction.dialect.name == "postgresql":
                    transaction.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
                versions.refuse_other(transaction, self.describe())
                yield transaction

    def connect(self, patience: timedelta | None = None) -> Connection:
        """Open a connection of a worker's own, with the parameters of the alias; it is not Django's.

        `patience` is how long it waits for a lock. Raises as above, and `InvalidConfiguration` for a database
        in memory.
        """
        with translated(self._connection):
            return own_ledger(self.using, self.schema).connect(patience)

    def migrate(self) -> tuple[int, int]:
        """Make the tables, or bring them up to date; return the versions before and after.

        `manage.py migrate` does the same. Raises `LedgerVersion`, `LedgerUnavailable`.
        """
        connection = self._connection
        with translated(connection), begun(connection, durable=True):
            before = versions.migrate(DjangoTransaction(connection, self.dialect), self.describe())
        return before, VERSION

    def version(self) -> int:
        """Return the version of the tables, 0 where there are none."""
        connection = self._connection
        with translated(connection):
            return versions.version_of(DjangoTransaction(connection, self.dialect))

    def findings(self) -> Iterator[Finding]:
        """Yield what `whereupon doctor` says about the database."""
        connection = self._connection
        with translated(connection):
            yield from own_ledger(self.using, self.schema).findings()
        if may_meet_a_lock(connection):
            fix = 'set "OPTIONS": {"transaction_mode": "IMMEDIATE"} in DATABASES'
            yield "warning", f"transactions of {self.using!r} may fail as the database is locked; {fix}"

    def describe(self) -> str:
        """Say which database this is, without the password."""
        return describe(self._connection, self.schema)


def _tidy() -> None:
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            if not connection.force_debug_cursor:  # a test counts queries
                connection.queries_log.clear()
            connection.close_if_unusable_or_obsolete()
