"""The ledger in a SQLite file."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from whereupon.errors import (
    InvalidConfiguration,
    LedgerMissing,
    WhereuponError,
)
from whereupon.ledger import publish, versions
from whereupon.ledger.dialect import SQLITE, Dialect
from whereupon.ledger.lending import LentConnection
from whereupon.ledger.pool import Pool
from whereupon.ledger.schema import VERSION
from whereupon.ledger.sqlite_atomic import SQLiteAtomic
from whereupon.ledger.sqlite_build import file_system_of, has_wal_reset_bug, is_network
from whereupon.ledger.sqlite_connection import (
    SQLiteConnection,
    SQLiteTransaction,
    patiently,
    translated,
)
from whereupon.ledger.sqlite_joining import refuse_other_file, refuse_to_join, watch
from whereupon.ledger.transactions import transaction_faults

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from whereupon.ledger_protocol import Fate, Finding, Record
    from whereupon.subscriptions import Subscription

JournalMode = Literal["auto", "wal", "rollback"]


@dataclass(frozen=True, slots=True)
class SQLiteLedger:
    """The durable record of deliveries in one SQLite file, for the applications of one machine.

    - `path`: the file; made absolute when the ledger is made. Only `whereupon ledger migrate` creates it
    - `own_transaction`: publish without `on=` commits on its own; without it, that is `NoTransaction`
    - `busy_timeout`: how long another process may hold the write lock before `LedgerBusy` is raised
    - `journal`: "auto" takes WAL on builds of SQLite without the WAL-reset bug and a rollback journal on the
      others; each commit is flushed to the disk in either

    The file may be the application's own database: tables are named `whereupon_…`, and its journal mode is
    left alone. Raises `InvalidConfiguration`.
    """

    path: Path
    own_transaction: bool = False
    busy_timeout: timedelta = timedelta(seconds=30)
    journal: JournalMode = "auto"
    _pool: Pool[SQLiteConnection] = field(init=False, repr=False, compare=False)

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        own_transaction: bool = False,
        busy_timeout: timedelta = timedelta(seconds=30),
        journal: JournalMode = "auto",
    ) -> None:
        text = os.fspath(path)
        if not text or text == ":memory:" or text.startswith("file:"):
            raise InvalidConfiguration(
                f"a ledger is a file that other processes can open, not {text or 'an empty path'}",
                fix="name a file on a local disk, for example SQLiteLedger('var/ledger.sqlite3')",
            )
        if busy_timeout <= timedelta(0):
            raise InvalidConfiguration(f"busy_timeout= takes more than zero, not {busy_timeout}")
        if journal not in ("auto", "wal", "rollback"):
            raise InvalidConfiguration(f"journal= takes auto, wal or rollback, not {journal!r}")
        object.__setattr__(self, "path", Path(text).absolute())
        object.__setattr__(self, "own_transaction", own_transaction)
        object.__setattr__(self, "busy_timeout", busy_timeout)
        object.__setattr__(self, "journal", journal)
        object.__setattr__(self, "_pool", Pool())

    @property
    def dialect(self) -> Dialect:
        """Which SQL the ledger's own connections speak."""
        return SQLITE

    @property
    def takes_turns(self) -> bool:
        """Tell that atomic subscribers run one at a time: each holds the lock of the file."""
        return True

    @property
    def atomic_timeout(self) -> timedelta:
        """The time limit of an atomic subscriber that names none."""
        return timedelta(seconds=5)

    @property
    def transaction_types(self) -> tuple[type, ...]:
        """What an atomic subscriber can ask for."""
        return (sqlite3.Connection,)

    def faults_of(self, subscription: Subscription) -> Iterable[WhereuponError]:
        """Yield what this ledger cannot honour of a subscription."""
        return transaction_faults(subscription, self.transaction_types)

    def write(self, records: Sequence[Record], on: object | None, *, strict: bool = True) -> None:  # noqa: ARG002
        """Write records in the transaction of `on`, a `sqlite3.Connection`, or in one of their own."""
        self.refuse_to_join(on)
        if not isinstance(on, sqlite3.Connection):
            with self.transaction() as transaction:
                publish.write(transaction, records)
            return
        with translated(self.path):
            refuse_other_file(on, self.path)
            publish.write(SQLiteTransaction(on), records)

    async def awrite(self, records: Sequence[Record], on: object | None, *, strict: bool = True) -> None:
        """Write records from a coroutine: in a thread of their own, unless they join a connection."""
        import asyncio

        if on is None:
            await asyncio.to_thread(self.write, records, on, strict=strict)
        else:
            self.write(records, on, strict=strict)

    def refuse_to_join(self, on: object | None) -> None:
        """Raise where an event published on `on` could not commit with anything."""
        refuse_to_join(on, own_transaction=self.own_transaction)

    def lend(self, on: object | None, fate: Fate) -> LentConnection | None:
        """Return the transaction that a test has open on a connection, for an atomic subscriber to run in."""
        return LentConnection(on) if isinstance(on, sqlite3.Connection) and fate == "pending" else None

    def scope(self) -> contextlib.nullcontext[None]:
        """Return what surrounds each call of a subscriber in a worker: nothing."""
        return contextlib.nullcontext()

    def watch(self, on: object | None, event_id: str) -> Callable[[], Fate]:
        """Note that an event is published on `on`, and return what tells its fate. For tests."""
        return watch(on, event_id) if isinstance(on, sqlite3.Connection) else lambda: "committed"

    @contextlib.contextmanager
    def transaction(self) -> Iterator[SQLiteTransaction]:
        """Open a transaction on a connection of the ledger's own, begun IMMEDIATE.

        Raises `LedgerMissing`, `LedgerVersion`, `LedgerBusy`, `LedgerUnavailable`.
        """
        with self._pool.borrowed(self.connect) as connection, connection.transaction() as transaction:
            yield transaction

    @contextlib.contextmanager
    def reading(self) -> Iterator[SQLiteTransaction]:
        """Open a transaction that only reads, on a connection of the ledger's own. Raises as above."""
        with self._pool.borrowed(self.connect) as connection, connection.reading() as transaction:
            yield transaction

    def atomic(self) -> SQLiteAtomic:
        """Return the transaction for one call of an atomic subscriber, to be entered."""
        return SQLiteAtomic(self.path, self.busy_timeout)

    def begin(self, connection: sqlite3.Connection) -> None:
        """Begin a transaction IMMEDIATE on a connection of the application, for publishing with `on=`.

        It waits for the lock in short sleeps of random length, up to `busy_timeout`. The busy handler of
        SQLite, which `sqlite3.connect(timeout=)` sets, sleeps ever longer: beside a busy worker its slowest
        waits are near two seconds. Raises `LedgerBusy`.
        """
        with translated(self.path):
            before = connection.execute("PRAGMA busy_timeout").fetchone()[0]
            connection.execute("PRAGMA busy_timeout = 0")
            try:
                patiently(lambda: connection.execute("BEGIN IMMEDIATE"), self.busy_timeout.total_seconds())
            finally:
                connection.execute(f"PRAGMA busy_timeout = {int(before)}")

    def connect(self, patience: timedelta | None = None) -> SQLiteConnection:
        """Open a connection of one's own to a ledger that is there and of this version.

        `patience` is how long it waits for a lock, if not `busy_timeout`. Raises `LedgerMissing`,
        `LedgerVersion`, `LedgerBusy`, `LedgerUnavailable`.
        """
        connection = self._open()
        try:
            with connection.reading() as transaction:
                versions.refuse_other(transaction, str(self.path))
                own_file = bool(transaction.rows("SELECT own_file FROM whereupon_ledger")[0][0])
            self._choose_journal(connection, own_file=own_file)
        except BaseException:
            connection.close()
            raise
        connection.patience = (patience or self.busy_timeout).total_seconds()
        return connection

    def _choose_journal(self, connection: SQLiteConnection, *, own_file: bool) -> None:
        if own_file:
            connection.set_journal(self._mode())
        elif self.journal != "auto":
            raise InvalidConfiguration(
                f"journal={self.journal!r} does nothing, as {self.path} is the application's own database",
                fix="leave journal= out, and choose the journal mode where the application makes the file",
            )

    def _open(self) -> SQLiteConnection:
        kind = file_system_of(self.path)
        if is_network(kind):
            raise InvalidConfiguration(
                f"{self.path} lies on {kind}, where the locks of SQLite cannot be trusted",
                fix="put the file on a local disk, or use PostgreSQL",
            )
        if not self.path.is_file():
            raise LedgerMissing(f"there is no ledger at {self.path}", fix=versions.MIGRATE)
        return SQLiteConnection(self.path, self.busy_timeout)

    def _mode(self) -> Literal["wal", "persist"]:
        if self.journal == "auto":
            return "persist" if has_wal_reset_bug(sqlite3.sqlite_version_info) else "wal"
        return "wal" if self.journal == "wal" else "persist"

    def migrate(self) -> tuple[int, int]:
        """Create the file and the tables, or bring them up to date; return the versions before and after.

        Raises `LedgerVersion` when the ledger is newer than this code.
        """
        created = not self.path.exists()
        if created:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        connection = self._open()
        try:
            with connection.transaction() as transaction:
                before = versions.migrate(transaction, str(self.path), own_file=created)
                own_file = bool(transaction.rows("SELECT own_file FROM whereupon_ledger")[0][0])
            self._choose_journal(connection, own_file=own_file)
        finally:
            connection.close()
        return before, VERSION

    def version(self) -> int:
        """Return the version of the tables in the file, 0 where there are none."""
        connection = self._open()
        try:
            with connection.reading() as transaction:
                return versions.version_of(transaction)
        finally:
            connection.close()

    def describe(self) -> str:
        """Say which file this is."""
        return str(self.path)

    def findings(self) -> Iterator[Finding]:
        """Yield what `whereupon doctor` says about the build of SQLite, the journal and the disk."""
        build = sqlite3.sqlite_version
        affected = has_wal_reset_bug(sqlite3.sqlite_version_info)
        yield "ok", f"SQLite {build}" + (", with the WAL-reset bug" if affected else "")
        connection = self.connect()
        try:
            journal = connection.pragma("journal_mode")
            synchronous = connection.pragma("synchronous")
        finally:
            connection.close()
        if journal == "wal" and affected:
            fix = "run PRAGMA journal_mode = delete, or install SQLite 3.51.3 or newer"
            yield "error", f"the journal mode is wal, and SQLite {build} can lose transactions in it; {fix}"
        else:
            yield "ok", f"journal mode {journal}, synchronous {_synchronous(synchronous)}"
        yield "ok", f"file system {file_system_of(self.path) or 'unknown'} below {self.path}"


def _synchronous(value: Any) -> str:
    return {"0": "OFF", "1": "NORMAL", "2": "FULL", "3": "EXTRA"}.get(str(value), str(value))
