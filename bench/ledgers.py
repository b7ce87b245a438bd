"""Ledgers that are prepared once and measured in copies: SQLite files, and databases of one server."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from bench.disk import settle
from bench.postgres import Server, ledger_on
from bench.shop.event_store import new_ledger
from whereupon import SQLiteLedger

if TYPE_CHECKING:
    from whereupon.ledger import PostgresLedger

    AnyLedger = SQLiteLedger | PostgresLedger


class Ledgers(Protocol):
    """Makes ledgers of one kind, by name; the rounds work on copies."""

    title: str

    def new(self, name: str) -> AnyLedger:
        """Make a ledger."""
        ...

    def settle(self, name: str) -> None:
        """Do before the measurement what would be done during it."""
        ...

    def opened(self, name: str) -> AnyLedger:
        """Return a ledger that was made before."""
        ...

    def copied(self, name: str, folder: Path) -> AbstractContextManager[AnyLedger]:
        """Make a copy, in a folder if it is a file, and remove it at the end."""
        ...


class SQLiteFiles:
    """Ledgers in SQLite files."""

    title = ""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def new(self, name: str) -> SQLiteLedger:
        return new_ledger(self._path(name), "auto")

    def settle(self, name: str) -> None:  # noqa: ARG002
        settle(self._folder)

    def opened(self, name: str) -> SQLiteLedger:
        return _opened(self._path(name))

    @contextmanager
    def copied(self, name: str, folder: Path) -> Iterator[SQLiteLedger]:
        copy = folder / "ledger.sqlite3"
        with closing(sqlite3.connect(self._path(name))) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        settle(folder)
        yield _opened(copy)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.sqlite3"


def _opened(path: Path) -> SQLiteLedger:
    return SQLiteLedger(path, own_transaction=True)


class Databases:
    """Ledgers in databases of one server."""

    title = ", PostgreSQL"

    def __init__(self, server: Server) -> None:
        self._server = server

    def new(self, name: str) -> PostgresLedger:
        return self._server.new_ledger(name)

    def settle(self, name: str) -> None:
        self._server.settle(name)

    def opened(self, name: str) -> PostgresLedger:
        return ledger_on(self._server.url(name))

    @contextmanager
    def copied(self, name: str, folder: Path) -> Iterator[PostgresLedger]:  # noqa: ARG002
        yield ledger_on(self._server.new_database("round", template=name))
        self._server.drop("round")
