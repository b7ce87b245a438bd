"""What the ledger asks of a database connection: a few calls inside one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

Row = tuple[Any, ...]
Parameters = Mapping[str, Any] | Sequence[Any]


class Transaction(Protocol):
    """An open transaction on the ledger's database. Parameters are named (`:name`), or `?` in bulk."""

    def now(self) -> int:
        """Return the database's clock in milliseconds since 1970, UTC."""

    def rows(self, sql: str, parameters: Parameters = ...) -> list[Row]:
        """Run a statement and return all rows of its result."""

    def run(self, sql: str, parameters: Parameters = ...) -> int:
        """Run a statement and return how many rows it changed."""

    def run_many(self, sql: str, parameters: Iterable[Parameters]) -> int:
        """Run a statement once for each set of parameters and return how many rows were changed."""
