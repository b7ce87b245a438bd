"""Joining the transaction of a psycopg connection: what joins, what does not, what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from whereupon.errors import NoTransaction, WrongConnection, WrongLedger
from whereupon.ledger import publish, versions
from whereupon.ledger.psycopg_connection import PsycopgTransaction, bound, describe, rendered, translate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from whereupon.ledger.dialect import Dialect
    from whereupon.ledger_protocol import Fate, Record

Joinable = psycopg.Connection[Any] | psycopg.AsyncConnection[Any]

TRANSACTION_TYPES: Final = (psycopg.Connection,)
"""What an atomic subscriber can ask for."""

_LEDGER_ID: Final = "SELECT ledger_id FROM whereupon_ledger"
_ids: WeakKeyDictionary[Joinable, str] = WeakKeyDictionary()
"""The identity of the ledger that a connection writes to, asked once for each connection."""


def joinable(on: object | None, *, own_transaction: bool) -> Joinable | None:
    """Return the connection to join, None for a transaction of one's own.

    Raises `WrongConnection` or `NoTransaction` where an event could not commit with anything.
    """
    if on is None:
        if own_transaction:
            return None
        raise NoTransaction(
            "there is no transaction that the event could commit with",
            fix="publish(event, on=connection) with the connection of the business transaction, or "
            "PostgresLedger(url, own_transaction=True) if events may commit on their own",
        )
    if not isinstance(on, psycopg.Connection | psycopg.AsyncConnection):
        kind = f"{type(on).__module__}.{type(on).__qualname__}"
        raise WrongConnection(
            f"PostgresLedger joins the transaction of a connection of psycopg 3, not of {kind}",
            fix="pass the connection that wrote the business rows",
        )
    if on.autocommit and on.info.transaction_status == TransactionStatus.IDLE:
        raise NoTransaction(
            "the connection is in autocommit mode and in no transaction, so the event would commit alone",
            fix="write the business rows and publish inside `with connection.transaction():`",
        )
    return on


def join(connection: Joinable, dialect: Dialect, records: Sequence[Record], expected: str) -> None:
    """Write records in the transaction of a connection. Raises `WrongLedger`, `WrongConnection`."""
    if isinstance(connection, psycopg.AsyncConnection):
        raise WrongConnection(
            "publish cannot wait for psycopg.AsyncConnection", fix="await apublish(event, on=...)"
        )
    transaction = PsycopgTransaction(connection, dialect)
    try:
        if _ids.get(connection) != expected:
            _refuse_other(connection, versions.ledger_id(transaction), expected)
        publish.write(transaction, records)
    except psycopg.Error as error:
        raise (translate(error, describe(connection.info.dsn)) or error) from error


async def ajoin(connection: Joinable, dialect: Dialect, records: Sequence[Record], expected: str) -> None:
    """Write records in the transaction of a connection, without blocking where it is one of coroutines.

    Raises `WrongLedger`.
    """
    if isinstance(connection, psycopg.Connection):
        return join(connection, dialect, records, expected)
    sql, parameters = publish.statement(records)
    try:
        async with psycopg.AsyncCursor(connection, row_factory=tuple_row) as cursor:
            if _ids.get(connection) != expected:
                await cursor.execute(rendered(dialect, _LEDGER_ID))
                row = await cursor.fetchone()
                _refuse_other(connection, row[0] if row else "", expected)
            await cursor.execute(rendered(dialect, sql), bound(parameters))
    except psycopg.Error as error:
        raise (translate(error, describe(connection.info.dsn)) or error) from error


def _refuse_other(connection: Joinable, found: str, expected: str) -> None:
    if found != expected:
        raise WrongLedger(
            f"on= writes to the ledger in {describe(connection.info.dsn)}, and the workers read another one",
            fix="make the ledger on the database of the application, or pass the connection to the ledger's",
        )
    _ids[connection] = expected


def watch(connection: Joinable, event_id: str) -> Callable[[], Fate]:
    """Note an event in the connection's transaction and return what tells its fate. For tests.

    The note is a setting of the session, which a rollback takes away as it would the event. It is written
    and read below psycopg's own layer, where a connection of coroutines can be asked without waiting.
    """
    name = f"whereupon.watched_{event_id.replace('-', '')}".encode()
    if not connection.autocommit and connection.info.transaction_status == TransactionStatus.IDLE:
        connection.pgconn.exec_(b"BEGIN")
    connection.pgconn.exec_(b"SELECT set_config('%s', '1', false)" % name)

    def fate() -> Fate:
        if connection.closed:
            return "committed"
        status = connection.info.transaction_status
        result = connection.pgconn.exec_(b"SELECT current_setting('%s', true)" % name)
        if status == TransactionStatus.INERROR or result.get_value(0, 0) != b"1":
            return "rolled back"
        return "committed" if status == TransactionStatus.IDLE else "pending"

    return fate
