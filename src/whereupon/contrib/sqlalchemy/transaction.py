"""The SQL of the ledger on a connection of SQLAlchemy, and what its errors mean."""

from __future__ import annotations

import contextlib
import functools
import sqlite3
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import TextClause, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from whereupon.errors import LedgerUnavailable
from whereupon.ledger.dialect import SQLITE, Clock, Dialect
from whereupon.ledger.sqlite_connection import translate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Connection, CursorResult, Engine

    from whereupon.errors import WhereuponError
    from whereupon.ledger_protocol import Parameters, Row

_NOTHING: Final[Mapping[str, Any]] = {}


def dialect_of(engine: Engine, schema: str = "") -> Dialect:
    """Return how the connections of an engine want the SQL of the ledger.

    Drivers of pyformat (psycopg, psycopg2) and those of SQLite get it as it is; for others (asyncpg)
    SQLAlchemy turns `:name` into what they take.
    """
    if engine.dialect.name == "sqlite":
        return SQLITE
    return Dialect("postgresql", "pyformat" if engine.dialect.paramstyle == "pyformat" else "named", schema)


class SQLAlchemyTransaction(Clock):
    """An open transaction on a `sqlalchemy.Connection`, the caller's or the ledger's."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection, dialect: Dialect) -> None:
        super().__init__(dialect)
        self._connection = connection

    def rows(self, sql: str, parameters: Parameters = _NOTHING) -> list[Row]:
        """Run a statement and return all rows of its result."""
        return [tuple(row) for row in self._execute(sql, parameters)]

    def run(self, sql: str, parameters: Parameters = _NOTHING) -> int:
        """Run a statement and return how many rows it changed."""
        with contextlib.closing(self._execute(sql, parameters)) as result:
            return result.rowcount

    def _execute(self, sql: str, parameters: Parameters) -> CursorResult[Any]:
        sql, bound = self.dialect.render(sql), self.dialect.bind(parameters)
        if not isinstance(bound, Mapping):
            return self._connection.exec_driver_sql(sql, tuple(bound))
        if self.dialect.name == "postgresql" and self.dialect.style == "named":
            return self._connection.execute(_text(sql), bound)
        return self._connection.exec_driver_sql(sql, dict(bound))


@functools.lru_cache(maxsize=512)
def _text(sql: str) -> TextClause:
    return text(sql)


@contextlib.contextmanager
def translated(database: str, path: Path | None) -> Iterator[None]:
    """Turn the errors of a driver that are not the caller's doing into errors of the ledger.

    `path` is the file where the database is one of SQLite. Payloads stand in the text of SQLAlchemy's
    errors, so they are cut out of those that stay, and left out of what is raised instead.
    """
    try:
        yield
    except DBAPIError as error:
        error.hide_parameters = True
        meaning = meaning_of(error, database, path)
        if meaning is None:
            raise
        raise meaning from error.orig
    except OSError as error:  # asyncpg cannot connect, and SQLAlchemy lets it through
        raise LedgerUnavailable(
            f"the ledger {database} cannot be reached ({error})",
            retry_is_safe=True,
            fix="check the address, and that the server runs",
        ) from error
    except PoolTimeout as error:
        raise LedgerUnavailable(
            f"the engine has had no free connection to {database}",
            retry_is_safe=True,
            fix="give the engine a larger pool_size=, or the atomic subscribers a concurrency=",
        ) from error


def meaning_of(error: DBAPIError, database: str, path: Path | None) -> WhereuponError | None:
    """Return what an error means for the ledger; None where it is the caller's own."""
    if path is not None:
        return translate(error.orig, path) if isinstance(error.orig, sqlite3.Error) else None
    from whereupon.contrib.sqlalchemy.psycopg_own import meaning

    return meaning(error, database)
