"""The durable record of deliveries, in the application's own database.

`PostgresLedger` needs psycopg 3 and is imported when it is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from whereupon.ledger.sqlite import SQLiteLedger

if TYPE_CHECKING:
    from whereupon.ledger.postgres import PostgresLedger

__all__ = ["PostgresLedger", "SQLiteLedger"]


def __getattr__(name: str) -> Any:
    """Import the ledgers that need a driver."""
    if name == "PostgresLedger":
        from whereupon.ledger.postgres import PostgresLedger

        return PostgresLedger
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
