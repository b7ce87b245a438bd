"""The ledger's tables as migrations of Django."""
