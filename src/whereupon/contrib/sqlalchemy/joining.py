"""Joining the transaction of a session or connection: what joins and what does not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import MissingGreenlet, UnboundExecutionError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, scoped_session

from whereupon.contrib.sqlalchemy.transaction import SQLAlchemyTransaction
from whereupon.errors import NoTransaction, WrongConnection, WrongLedger
from whereupon.ledger import publish, versions
from whereupon.ledger.sqlite_joining import joins, refuse_other_main

if TYPE_CHECKING:
    from collections.abc import Sequence

    from whereupon.ledger.dialect import Dialect
    from whereupon.ledger_protocol import Record

Sync = Session | Connection
Joinable = Session | Connection | AsyncSession | AsyncConnection

_LEDGER: Final = "whereupon_ledger"
"""Where `connection.info` keeps the id or file of the ledger that a connection writes to."""
_NESTS: Final = "whereupon_savepoints"
"""Where it keeps that savepoints of the sqlite3 module lie in a transaction; see `repair_savepoints`."""
_RECIPE: Final = (
    'create_engine(url, connect_args={"autocommit": False}) on Python 3.12, or the recipe of SQLAlchemy'
)


def joinable(on: object | None, *, own_transaction: bool) -> Joinable | None:
    """Return the session or connection to join, None for a transaction of one's own.

    Raises `WrongConnection` or `NoTransaction`.
    """
    if on is None:
        if own_transaction:
            return None
        raise NoTransaction(
            "there is no transaction that the event could commit with",
            fix="publish(event, on=session) with the session of the business transaction, or "
            "SQLAlchemyLedger(engine, own_transaction=True) if events may commit on their own",
        )
    if isinstance(on, scoped_session | async_scoped_session):
        on = on()
    if isinstance(on, Session | Connection | AsyncSession | AsyncConnection):
        return on
    kind = f"{type(on).__module__}.{type(on).__qualname__}"
    raise WrongConnection(
        f"SQLAlchemyLedger joins the transaction of a Session or a Connection, not of {kind}",
        fix="pass the session or connection that wrote the business rows",
    )


def refuse_coroutines(on: Joinable) -> Sync:
    """Return what a function can write with. Raises `WrongConnection` that names apublish."""
    if isinstance(on, AsyncSession | AsyncConnection):
        raise _awaited(type(on).__name__)
    return on


def _awaited(kind: str) -> WrongConnection:
    return WrongConnection(f"publish cannot wait for {kind}", fix="await apublish(event, on=...)")


def connection_of(on: Sync, engine: Engine) -> Connection:
    """Return the connection whose transaction is joined; a session begins one where there is none.

    A session that is bound table by table gives the connection of `engine`. Raises `NoTransaction`,
    `WrongConnection`.
    """
    try:
        connection = _connected(on, engine)
        refuse_autocommit(connection)
    except MissingGreenlet:
        raise _awaited(f"a {type(on).__name__} of an AsyncEngine") from None
    return connection


def _connected(on: Sync, engine: Engine) -> Connection:
    if isinstance(on, Connection):
        return on
    try:
        return on.connection()
    except UnboundExecutionError:
        return on.connection(bind_arguments={"bind": engine})


def refuse_autocommit(connection: Connection) -> None:
    """Raise `NoTransaction` where what is written on a connection is committed at once."""
    if _commits_at_once(connection):
        raise NoTransaction(
            "the connection has the isolation level AUTOCOMMIT, so the event would commit alone",
            fix="write the business rows and publish on a connection with another isolation level",
        )
    if connection.in_nested_transaction() and _is_unsafe_savepoint(connection):
        raise NoTransaction(
            "the sqlite3 module has begun no transaction around this savepoint, so it would commit alone",
            fix=f"make the ledger with the engine of this connection, or {_RECIPE}",
        )


def _commits_at_once(connection: Connection) -> bool:
    if connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT":
        return True
    proxied = connection.connection
    if connection.dialect.name == "sqlite":
        driver: Any = proxied.driver_connection
        return not joins(driver)
    return bool(getattr(proxied.dbapi_connection, "autocommit", False))


def _is_unsafe_savepoint(connection: Connection) -> bool:
    if connection.dialect.name != "sqlite" or connection.info.get(_NESTS):
        return False
    driver: Any = connection.connection.driver_connection
    return getattr(driver, "autocommit", -1) == -1 and driver.isolation_level is not None


def repair_savepoints(engine: Engine) -> None:
    """Let savepoints of SQLite lie in a transaction, on all connections of an engine.

    In its legacy mode the sqlite3 module begins none before a SAVEPOINT. The first savepoint then is the
    transaction: its release commits, whatever becomes of the session afterwards.
    """
    if engine.dialect.name == "sqlite" and not event.contains(engine, "savepoint", _begin_before):
        event.listen(engine, "savepoint", _begin_before)


def _begin_before(connection: Connection, name: str | None) -> None:  # noqa: ARG001
    connection.info[_NESTS] = True
    driver: Any = connection.connection.driver_connection
    if not driver.in_transaction and joins(driver):
        connection.exec_driver_sql("BEGIN")


def join(connection: Connection, dialect: Dialect, records: Sequence[Record], expected: str | Path) -> None:
    """Write records in the transaction of a connection. Raises `WrongLedger`.

    `expected` is the ledger's id, or its file where it is one of SQLite: reading the id there takes a second
    connection, which the lock of this one may keep out.
    """
    transaction = SQLAlchemyTransaction(connection, dialect)
    if connection.info.get(_LEDGER) != expected:
        if isinstance(expected, Path):
            refuse_other_main(transaction.rows("PRAGMA database_list"), expected)
        elif versions.ledger_id(transaction) != expected:
            raise WrongLedger(
                f"on= writes to {connection.engine.url.set(password=None).render_as_string()}, "
                "and the workers read another ledger",
                fix="make the ledger on the engine that the sessions of the application use",
            )
        connection.info[_LEDGER] = expected
    publish.write(transaction, records)
