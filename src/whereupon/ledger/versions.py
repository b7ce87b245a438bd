"""Which version the tables of a ledger have, and bringing them up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import uuid4

from whereupon.errors import LedgerMissing, LedgerVersion
from whereupon.ledger.schema import VERSION, migration_sql

if TYPE_CHECKING:
    from whereupon.ledger_protocol import Transaction

MIGRATE: Final = "whereupon ledger migrate"
"""The command that makes the tables."""

_IN_SQLITE: Final = """
    SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'whereupon\\_%' ESCAPE '\\'
"""
_IN_POSTGRESQL: Final = """
    SELECT tablename FROM pg_tables WHERE tablename LIKE 'whereupon\\_%'
        AND schemaname = ANY(CASE WHEN :schema = '' THEN current_schemas(false) ELSE ARRAY[:schema] END)
"""


def version_of(transaction: Transaction) -> int:
    """Return the version of the tables, 0 where there are none. Raises `LedgerVersion`."""
    tables = _tables(transaction)
    if not tables:
        return 0
    rows = transaction.rows("SELECT version FROM whereupon_ledger") if "whereupon_ledger" in tables else []
    if len(rows) != 1:
        raise LedgerVersion(
            f"the database has the tables {', '.join(sorted(tables))} but no version of a ledger",
            fix="if these tables are not whereupon's, rename them; otherwise restore the file from a backup",
        )
    return int(rows[0][0])


def _tables(transaction: Transaction) -> set[str]:
    dialect = transaction.dialect
    if dialect.name == "sqlite":
        return {row[0] for row in transaction.rows(_IN_SQLITE)}
    return {row[0] for row in transaction.rows(_IN_POSTGRESQL, {"schema": dialect.schema})}


def refuse_other(transaction: Transaction, database: str) -> None:
    """Raise `LedgerMissing` or `LedgerVersion` where a database has no tables of this version."""
    version = version_of(transaction)
    if version == 0:
        raise LedgerMissing(f"{database} holds no ledger", fix=MIGRATE)
    if version < VERSION:
        raise LedgerVersion(
            f"the ledger at {database} has version {version}, this code needs {VERSION}", fix=MIGRATE
        )
    if version > VERSION:
        raise _newer(version, database)


def migrate(transaction: Transaction, database: str, *, own_file: bool = False) -> int:
    """Make the tables, or bring them up to date; return the version before. Raises `LedgerVersion`.

    Of several at once on a server one does it, and the others wait.
    """
    if transaction.dialect.name == "postgresql":
        transaction.rows("SELECT pg_advisory_xact_lock(hashtext('whereupon ledger migrate'))")
    before = version_of(transaction)
    if before > VERSION:
        raise _newer(before, database)
    schema = transaction.dialect.schema
    if schema and not transaction.rows("SELECT 1 FROM pg_namespace WHERE nspname = :name", {"name": schema}):
        quoted = schema.replace('"', '""')
        transaction.run(f'CREATE SCHEMA "{quoted}"')
    for statement in migration_sql(before):
        transaction.run(statement)
    if before:
        transaction.run("UPDATE whereupon_ledger SET version = :version", {"version": VERSION})
    else:
        transaction.run(
            "INSERT INTO whereupon_ledger (one, version, ledger_id, own_file)"
            " VALUES (1, :version, :id, :own)",
            {"version": VERSION, "id": uuid4().hex, "own": int(own_file)},
        )
    return before


def ledger_id(transaction: Transaction) -> str:
    """Return the identity of the ledger in a database."""
    return str(transaction.rows("SELECT ledger_id FROM whereupon_ledger")[0][0])


def _newer(version: int, database: str) -> LedgerVersion:
    return LedgerVersion(
        f"the ledger at {database} has version {version}, this code knows {VERSION} at most",
        fix="install the version of whereupon that made it, or a newer one",
    )
