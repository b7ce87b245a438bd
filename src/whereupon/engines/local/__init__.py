"""Local workers: processes of this machine that take deliveries straight from the ledger."""
