"""Making the tables of the ledger from Django's migrations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.apps import apps
from django.db import connections
from django.db.migrations.loader import MigrationLoader

from whereupon.contrib.django.databases import describe, dialect_of
from whereupon.contrib.django.transactions import DjangoTransaction
from whereupon.ledger import versions

if TYPE_CHECKING:
    from whereupon.contrib.django.ledger import DjangoLedger

_TABLES: Final = ("whereupon_delivery", "whereupon_event", "whereupon_worker", "whereupon_ledger")


def make(_: Any, schema_editor: Any) -> None:
    """Make the tables, or bring them up to date, on the ledger's alias only. Raises `LedgerVersion`."""
    ledger = _ledger_on(schema_editor.connection.alias)
    if ledger is not None:
        connection = schema_editor.connection
        versions.migrate(_transaction(connection, ledger), describe(connection, ledger.schema))


def drop(_: Any, schema_editor: Any) -> None:
    """Drop the tables with all that they hold, on the ledger's alias only."""
    ledger = _ledger_on(schema_editor.connection.alias)
    if ledger is not None:
        transaction = _transaction(schema_editor.connection, ledger)
        for table in _TABLES:
            transaction.run(f"DROP TABLE IF EXISTS {table}")


def make_without_migrations(using: str, **_: Any) -> None:
    """Make the tables where the migrations of the app are turned off, as tests do for speed."""
    ledger = _ledger_on(using)
    if ledger is None or "whereupon" not in MigrationLoader(None).unmigrated_apps:
        return
    connection = connections[using]
    versions.migrate(_transaction(connection, ledger), describe(connection, ledger.schema))


def _ledger_on(alias: str) -> DjangoLedger | None:
    """Return the ledger if it lies on an alias; without a store that is the default one."""
    loaded: Any = apps.get_app_config("whereupon")
    ledger: DjangoLedger | None = loaded.loaded.ledger
    return ledger if ledger is not None and ledger.using == alias else None


def _transaction(connection: Any, ledger: DjangoLedger) -> DjangoTransaction:
    return DjangoTransaction(connection, dialect_of(connection, ledger.schema))
