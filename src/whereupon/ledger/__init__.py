"""The durable record of deliveries, in the application's own database."""

from whereupon.ledger.sqlite import SQLiteLedger

__all__ = ["SQLiteLedger"]
