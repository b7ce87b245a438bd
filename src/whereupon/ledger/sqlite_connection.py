"""A connection of the ledger's own to its SQLite file: IMMEDIATE transactions, and patience when busy."""

from __future__ import annotations

import contextlib
import functools
import os
import random
import sqlite3
import time
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar
from urllib.parse import quote

from whereupon.errors import LedgerBusy, LedgerMissing, LedgerUnavailable, WhereuponError
from whereupon.ledger.dialect import SQLITE, Dialect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import timedelta
    from pathlib import Path

    from whereupon.ledger_protocol import Parameters, Row

_T = TypeVar("_T")
_PRIMARY: Final = 0xFF  # the low byte of an extended error code is the primary one
_SHORTEST, _LONGEST = 0.0002, 0.005
_GRAIN: Final = 100_000_000  # nanoseconds, far above the resolution of a file's time of change
_NOTHING: Final[Mapping[str, Any]] = {}

_UNAVAILABLE: Final = {
    sqlite3.SQLITE_READONLY: (
        "is read-only",
        "let the user that runs this process write the file and its folder",
    ),
    sqlite3.SQLITE_CORRUPT: (
        "is corrupt",
        "restore it from a backup; sqlite3's .recover may save rows",
    ),
    sqlite3.SQLITE_NOTADB: (
        "is not a SQLite database",
        "name the right file, or restore it from a backup",
    ),
    sqlite3.SQLITE_FULL: (
        "cannot grow, the disk is full",
        "free some space; nothing else is needed",
    ),
    sqlite3.SQLITE_IOERR: (
        "cannot be read or written",
        "look for errors of the disk in the system's log",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        "cannot be opened",
        "check that the file and its folder can be read and written",
    ),
    sqlite3.SQLITE_PERM: (
        "cannot be opened",
        "check that the file and its folder can be read and written",
    ),
}


class SQLiteTransaction:
    """An open transaction on any `sqlite3.Connection`, the caller's or the ledger's."""

    __slots__ = ("_connection", "_patience")

    def __init__(
        self,
        connection: sqlite3.Connection,
        patience: Callable[[Callable[[], Any]], Any] | None = None,
    ) -> None:
        self._connection = connection
        self._patience = patience

    @property
    def dialect(self) -> Dialect:
        """How the connection wants its SQL."""
        return SQLITE

    def now(self) -> int:
        """Return the clock of this machine, which is the database's, in milliseconds since 1970."""
        return time.time_ns() // 1_000_000

    def rows(self, sql: str, parameters: Parameters = _NOTHING) -> list[Row]:
        """Run a statement and return all rows of its result."""

        def fetch() -> list[Row]:
            cursor = self._connection.cursor()
            cursor.row_factory = None  # the caller's connection may have one
            return cursor.execute(SQLITE.render(sql), SQLITE.bind(parameters)).fetchall()

        return self._patience(fetch) if self._patience else fetch()

    def run(self, sql: str, parameters: Parameters = _NOTHING) -> int:
        """Run a statement and return how many rows it changed."""
        return self._connection.execute(SQLITE.render(sql), SQLITE.bind(parameters)).rowcount


class SQLiteConnection:
    """A connection of the ledger's own. Not for two threads at once, and not for use behind a fork.

    `patience` is how many seconds it waits for a lock. `given` is a connection of the application to use
    instead, whose settings are left as they are; `kind` is the class of one that is opened.
    """

    def __init__(
        self,
        path: Path,
        patience: timedelta,
        given: sqlite3.Connection | None = None,
        kind: type[sqlite3.Connection] = sqlite3.Connection,
    ) -> None:
        self._path = path
        self._kind = kind
        self.patience = patience.total_seconds()
        self.raw = given or self._opened()
        self._identity = _identity(path)
        self._version = -1
        self._files = (str(path), f"{path}-wal")
        self._written = -1

    def _opened(self) -> sqlite3.Connection:
        with translated(self._path):
            self.raw = sqlite3.connect(
                f"file:{quote(str(self._path))}?mode=rw",
                uri=True,
                timeout=0,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=256,
                factory=self._kind,
            )
        try:
            with translated(self._path):
                self._settings()
        except BaseException:
            self.raw.close()
            raise
        return self.raw

    def _settings(self) -> None:
        for pragma in ("synchronous = FULL", "cache_spill = OFF"):
            self._patiently(functools.partial(self.raw.execute, f"PRAGMA {pragma}"))

    def set_journal(self, mode: Literal["wal", "persist"]) -> None:
        """Choose the journal of the ledger's own file."""
        with translated(self._path):
            self._patiently(lambda: self.raw.execute(f"PRAGMA journal_mode = {mode}").fetchone())

    def pragma(self, name: str) -> object:
        """Return the value of a setting."""
        with translated(self._path):
            return self._patiently(lambda: self.raw.execute(f"PRAGMA {name}").fetchone())[0]

    def close(self) -> None:
        """Close the connection; an open transaction is rolled back."""
        with contextlib.suppress(sqlite3.Error):
            self.raw.close()

    def is_current(self) -> bool:
        """Tell whether the file at the path is still the one that was opened."""
        return _identity(self._path) == self._identity

    def changed(self) -> bool:
        """Tell whether another connection has committed since the last call. Costs a few microseconds.

        A file whose time of change is the same as before, and not of this moment, has not been written to.
        Otherwise SQLite is asked, which takes a dozen system calls with a rollback journal.
        """
        written = max(map(_written, self._files))
        if written == self._written and time.time_ns() - written > _GRAIN:
            return False
        self._written = written
        try:
            version: int = self.raw.execute("PRAGMA data_version").fetchone()[0]
        except sqlite3.OperationalError:
            return True  # somebody is committing right now
        changed, self._version = version != self._version, version
        return changed

    def wait(self, seconds: float) -> None:
        """Wait for so many seconds: SQLite tells nobody of a commit."""
        time.sleep(seconds)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[SQLiteTransaction]:
        """Open a transaction that writes, begun IMMEDIATE; commits at the end, rolls back on an exception."""
        if not self.is_current():
            raise _gone(self._path)
        with translated(self._path):
            self._patiently(lambda: run(self.raw, "BEGIN IMMEDIATE"))
            try:
                yield SQLiteTransaction(self.raw)
                self._patiently(lambda: run(self.raw, "COMMIT"))
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    run(self.raw, "ROLLBACK")
                raise

    def single(self) -> contextlib.AbstractContextManager[SQLiteTransaction]:
        """Open a transaction that writes: as there is no round trip, statements need not be one."""
        return self.transaction()

    @contextlib.contextmanager
    def reading(self) -> Iterator[SQLiteTransaction]:
        """Open a transaction that only reads: one picture of the database for several statements."""
        if not self.is_current():
            raise _gone(self._path)
        with translated(self._path):
            self.raw.execute("BEGIN")
            try:
                yield SQLiteTransaction(self.raw, self._patiently)
            finally:
                self.raw.rollback()

    def _patiently(self, call: Callable[[], _T]) -> _T:
        return patiently(call, self.patience)


def run(connection: sqlite3.Connection, sql: str) -> None:
    """Run a statement, whatever the class of the connection refuses to the application."""
    sqlite3.Connection.execute(connection, sql)


def patiently(call: Callable[[], _T], seconds: float) -> _T:
    """Call again while the database is locked, in short sleeps of random length, for so many seconds.

    SQLite's own busy handler sleeps ever longer and starves; with four writers its worst case is near a
    second.
    """
    deadline = time.monotonic() + seconds
    sleep = _SHORTEST
    while True:
        try:
            return call()
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or time.monotonic() > deadline:
                raise
        time.sleep(random.uniform(sleep / 2, sleep))  # noqa: S311 - jitter
        sleep = min(sleep * 2, _LONGEST)


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn the errors of SQLite that are not the caller's doing into errors of the ledger."""
    try:
        yield
    except sqlite3.Error as error:
        raise (translate(error, path) or error) from error


def translate(error: sqlite3.Error, path: Path) -> WhereuponError | None:
    """Return what an error of SQLite means for the ledger; None where it is the caller's own."""
    code = (getattr(error, "sqlite_errorcode", None) or 0) & _PRIMARY
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return LedgerBusy(
            f"another connection holds the write lock of {path}",
            fix="end its transaction; a connection of your own had better begin with BEGIN IMMEDIATE",
        )
    if code == sqlite3.SQLITE_CANTOPEN and not path.exists():
        return LedgerMissing(f"there is no ledger at {path}", fix="whereupon ledger migrate")
    if code in _UNAVAILABLE:
        problem, fix = _UNAVAILABLE[code]
        safe = code != sqlite3.SQLITE_IOERR
        return LedgerUnavailable(f"the ledger {path} {problem} ({error})", retry_is_safe=safe, fix=fix)
    if "no such table: whereupon_" in str(error):
        return LedgerMissing(f"{path} holds no ledger", fix="whereupon ledger migrate")
    return None


def _gone(path: Path) -> LedgerUnavailable:
    return LedgerUnavailable(
        f"the ledger {path} is gone, or another file has taken its place",
        retry_is_safe=True,
        fix="put the file back; the process opens it again by itself",
    )


def _is_busy(error: sqlite3.OperationalError) -> bool:
    return (error.sqlite_errorcode & _PRIMARY) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _written(path: str) -> int:
    """Return when a file was last written to, in nanoseconds since 1970; 0 where there is none."""
    try:
        return os.stat(path).st_mtime_ns  # noqa: PTH116 - asked hundreds of times a second
    except OSError:
        return 0


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
