"""The ledger's own connections to PostgreSQL: of psycopg 3, opened the way an engine opens them."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import IsolationLevel, errors
from psycopg.conninfo import make_conninfo

from whereupon.errors import InvalidConfiguration
from whereupon.ledger.postgres import PostgresLedger
from whereupon.ledger.psycopg_connection import OF_PSYCOPG, PsycopgConnection, translate

if TYPE_CHECKING:
    from datetime import timedelta

    from sqlalchemy import Engine, Pool
    from sqlalchemy.exc import DBAPIError

    from whereupon.errors import WhereuponError


@dataclass(frozen=True, slots=True)
class EngineLedger(PostgresLedger):
    """A `PostgresLedger` whose connections are opened as those of an engine are, and kept out of its pool.

    What the engine was given is honoured: `connect_args`, `creator`, the events "connect" and "do_connect".
    """

    source: Pool = field(kw_only=True, repr=False)

    def open(self, patience: timedelta | None = None) -> PsycopgConnection:
        """Open a connection of one's own, whether there is a ledger or not. Raises `LedgerUnavailable`."""
        connect = functools.partial(_connected, self.source)
        return PsycopgConnection(self.url, self.dialect, patience or self.patience, connect=connect)


def engine_ledger(engine: Engine, schema: str, *, own_transaction: bool) -> EngineLedger:
    """Make the ledger on an engine of psycopg 3. Opens nothing. Raises `InvalidConfiguration`."""
    _, given = engine.dialect.create_connect_args(engine.url)
    try:
        make_conninfo(**{name: given[name] for name in given.keys() - OF_PSYCOPG})
    except psycopg.Error as error:
        raise InvalidConfiguration(
            f"psycopg does not take what stands in the engine's URL ({str(error).strip()})",
            fix='pass SQLAlchemyLedger(engine, sync_engine=create_engine("postgresql+psycopg://..."))',
        ) from None
    places = {name: given[name] for name in ("host", "port", "dbname") if given.get(name)}
    url = make_conninfo(**places)
    return EngineLedger(url, own_transaction, schema, source=engine.pool.recreate())


def _connected(source: Pool) -> psycopg.Connection[Any]:
    fairy = source.connect()
    connection = fairy.driver_connection
    fairy.detach()
    assert isinstance(connection, psycopg.Connection)  # noqa: S101 - an engine of psycopg made it
    connection.autocommit = True
    connection.isolation_level = IsolationLevel.READ_COMMITTED
    return connection


def meaning(error: DBAPIError, database: str) -> WhereuponError | None:
    """Return what an error of any driver of PostgreSQL means for the ledger, by its SQLSTATE.

    None where it is the caller's own.
    """
    orig: Any = error.orig
    if isinstance(orig, psycopg.Error):
        return translate(orig, database)
    state = getattr(orig, "sqlstate", None) or getattr(orig, "pgcode", None)
    message = str(orig).partition("\n")[0]
    if state:
        try:
            return translate(errors.lookup(state)(message), database)
        except KeyError:
            return None
    lost = error.connection_invalidated or isinstance(orig, OSError)
    return translate(psycopg.OperationalError(message), database) if lost else None
