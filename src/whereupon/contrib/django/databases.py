"""What an alias of DATABASES says about the database behind it, without opening it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.db import connections
from django.db.utils import ConnectionDoesNotExist

from whereupon.errors import InvalidConfiguration
from whereupon.ledger.dialect import Dialect
from whereupon.ledger.sqlite import SQLiteLedger

if TYPE_CHECKING:
    from whereupon.ledger.postgres import PostgresLedger


def connection_of(alias: str) -> Any:
    """Return this thread's Django connection of an alias. Raises `InvalidConfiguration`."""
    try:
        return connections[alias]
    except ConnectionDoesNotExist:
        raise InvalidConfiguration(
            f"DATABASES has no alias {alias!r}", fix="name one of them: DjangoLedger(using=...)"
        ) from None


def dialect_of(connection: Any, schema: str) -> Dialect:
    """Return how a Django connection wants its SQL. Raises `InvalidConfiguration`."""
    if connection.vendor == "sqlite":
        return Dialect("sqlite", "pyformat")
    if connection.vendor == "postgresql":
        from django.db.backends.postgresql.psycopg_any import is_psycopg3

        if is_psycopg3:
            return Dialect("postgresql", "pyformat", schema)
        found = "PostgreSQL through psycopg2"
    else:
        found = connection.display_name
    raise InvalidConfiguration(
        f"DjangoLedger works on SQLite and on PostgreSQL through psycopg 3, not on {found}",
        fix="pip install 'psycopg[binary]', or name another alias: DjangoLedger(using=...)",
    )


def sqlite_path(connection: Any) -> Path:
    """Return the file of a Django connection to SQLite, or the name of a database in memory as a path."""
    return Path(connection.settings_dict["NAME"])


def own_ledger(alias: str, schema: str) -> SQLiteLedger | PostgresLedger:
    """Return the ledger on the same database, whose connections are not Django's: for workers.

    They are opened with the parameters that Django would use. Raises `InvalidConfiguration` for a database
    in memory, which other processes cannot open.
    """
    connection = connection_of(alias)
    if dialect_of(connection, schema).name == "sqlite":
        if connection.is_in_memory_db():
            raise InvalidConfiguration(
                f"the database {alias!r} is in memory, where no worker can open it",
                fix="name a file in DATABASES; in tests call deliver_all()",
            )
        return SQLiteLedger(sqlite_path(connection))
    from whereupon.contrib.django.psycopg_parameters import conninfo_of
    from whereupon.ledger.postgres import PostgresLedger

    is_pooled = bool(connection.settings_dict.get("DISABLE_SERVER_SIDE_CURSORS"))
    return PostgresLedger(conninfo_of(connection), schema=schema, pooled=is_pooled)


def describe(connection: Any, schema: str = "") -> str:
    """Say which database a Django connection leads to, without the password."""
    if connection.vendor != "postgresql":
        return str(sqlite_path(connection))
    from whereupon.contrib.django.psycopg_parameters import conninfo_of
    from whereupon.ledger.psycopg_connection import describe as describe_server

    return describe_server(conninfo_of(connection)) + (f" (schema {schema})" if schema else "")


def may_meet_a_lock(connection: Any) -> bool:
    """Tell whether transactions of Django begin without SQLite's write lock, and may fail beside a worker."""
    mode = connection.settings_dict["OPTIONS"].get("transaction_mode") or ""
    return connection.vendor == "sqlite" and mode.upper() not in ("IMMEDIATE", "EXCLUSIVE")
