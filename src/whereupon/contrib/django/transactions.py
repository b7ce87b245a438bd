"""Transactions on Django connections: SQL through Django's cursor, and errors in whereupon's words."""

from __future__ import annotations

import contextlib
import sqlite3
import sys
from typing import TYPE_CHECKING, Any, Final

from django.db import Error as DjangoError
from django.db import transaction as django_transaction

from whereupon.contrib.django.databases import describe, sqlite_path
from whereupon.errors import LedgerBusy, LedgerMissing, LedgerUnavailable, WhereuponError
from whereupon.ledger.dialect import Clock
from whereupon.ledger.sqlite_connection import patiently
from whereupon.ledger.sqlite_connection import translate as translate_sqlite

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from whereupon.ledger.dialect import Dialect
    from whereupon.ledger_protocol import Parameters, Row

PATIENCE: Final = 30.0
"""How many seconds the ledger waits for the write lock of SQLite."""

_NOTHING: Final[Mapping[str, Any]] = {}


class DjangoTransaction(Clock):
    """An open transaction on a Django connection, the caller's or the ledger's."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Any, dialect: Dialect) -> None:
        super().__init__(dialect)
        self._connection = connection

    def rows(self, sql: str, parameters: Parameters = _NOTHING) -> list[Row]:
        """Run a statement and return all rows of its result."""
        with self._connection.cursor() as cursor:
            cursor.execute(self.dialect.render(sql), self.dialect.bind(parameters))
            return list(cursor.fetchall())

    def run(self, sql: str, parameters: Parameters = _NOTHING) -> int:
        """Run a statement and return how many rows it changed."""
        with self._connection.cursor() as cursor:
            cursor.execute(self.dialect.render(sql), self.dialect.bind(parameters))
            return int(cursor.rowcount)


@contextlib.contextmanager
def begun(connection: Any, *, durable: bool = False, patience: float = PATIENCE) -> Iterator[None]:
    """Run an atomic block on this thread's connection of an alias.

    On SQLite the outermost one takes the write lock at once, and waits for it in short sleeps. `durable` is
    that of `transaction.atomic`. Raises `LedgerUnavailable` where the end of a commit was not heard.
    """
    scope = django_transaction.atomic(using=connection.alias, durable=durable)
    is_outermost = not connection.in_atomic_block
    if is_outermost and connection.vendor == "sqlite" and connection.get_autocommit():
        _take_lock(connection, scope, patience)
    else:
        scope.__enter__()
    try:
        yield
    except BaseException:
        scope.__exit__(*sys.exc_info())
        raise
    try:
        scope.__exit__(None, None, None)
    except DjangoError as error:
        unknown = _unheard(error) if is_outermost and connection.vendor == "postgresql" else None
        if unknown is None:
            raise
        raise unknown from error


def _take_lock(connection: Any, scope: Any, patience: float) -> None:
    """Enter an outermost atomic block on SQLite with BEGIN IMMEDIATE, whatever the settings say."""

    def enter() -> None:
        try:
            scope.__enter__()
        except DjangoError as error:
            raise _cause(error) from error

    connection.ensure_connection()
    raw = connection.connection
    mode = connection.transaction_mode
    timeout = int(raw.execute("PRAGMA busy_timeout").fetchone()[0])
    raw.execute("PRAGMA busy_timeout = 0")
    connection.transaction_mode = "IMMEDIATE"
    try:
        patiently(enter, patience)
    finally:
        connection.transaction_mode = mode
        raw.execute(f"PRAGMA busy_timeout = {timeout}")


def _unheard(error: DjangoError) -> LedgerUnavailable | None:
    from whereupon.ledger.psycopg_connection import unheard_commit

    cause: Any = _cause(error)
    return unheard_commit(cause)


def _cause(error: BaseException) -> BaseException:
    """Return the driver's error that Django has wrapped."""
    return error.__cause__ or error


@contextlib.contextmanager
def translated(connection: Any) -> Iterator[None]:
    """Turn errors of the database that are not the caller's doing into errors of the ledger."""
    try:
        yield
    except (DjangoError, sqlite3.Error) as error:
        found = _translate(_cause(error) if isinstance(error, DjangoError) else error, connection)
        raise (found or error) from error
    except (LedgerMissing, LedgerBusy) as error:
        raise _advised(error, connection) from error


def _translate(error: Any, connection: Any) -> WhereuponError | None:
    if isinstance(error, sqlite3.Error):
        found = translate_sqlite(error, sqlite_path(connection))
    elif connection.vendor == "postgresql" and type(error).__module__.startswith("psycopg"):
        from whereupon.ledger.psycopg_connection import translate

        found = translate(error, describe(connection))
    else:
        return None
    return _advised(found, connection) if found else None


def _advised(error: WhereuponError, connection: Any) -> WhereuponError:
    """Give an error the fix that a Django project takes."""
    if isinstance(error, LedgerMissing):
        database = "" if connection.alias == "default" else f" --database {connection.alias}"
        return LedgerMissing(error.problem, fix=f"python manage.py migrate whereupon{database}")
    if isinstance(error, LedgerBusy) and connection.vendor == "sqlite":
        fix = 'end its transaction; and set "OPTIONS": {"transaction_mode": "IMMEDIATE"} in DATABASES'
        return LedgerBusy(error.problem, fix=fix)
    return error


def renew(connection: Any) -> None:
    """Close a connection that is stale, as Django does between two requests; not inside a transaction."""
    if not connection.in_atomic_block and connection.get_autocommit():
        connection.close_if_unusable_or_obsolete()
