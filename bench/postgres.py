"""A PostgreSQL server for one row: its own, with its defaults, so that each commit is flushed to the disk.

It is reached over its Unix socket, the shortest round trip there is: what sends more statements than ours
is favoured by it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from tests.postgres_server import WAY, PostgreSQL, binaries

from bench.peers import PeerMissing, import_peer

if TYPE_CHECKING:
    from whereupon.ledger import PostgresLedger


class Server:
    """Makes databases by name, and ledgers in them."""

    def __init__(self, server: PostgreSQL) -> None:
        self._server = server

    def url(self, database: str) -> str:
        """Return how a database is reached."""
        return self._server.socket_url(database)

    def new_database(self, name: str, *, template: str | None = None) -> str:
        """Make a database, empty or a copy of another one, and return its URL."""
        with closing(self.connect("postgres")) as connection:
            if template is not None:  # which nobody may be connected to
                sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
                connection.execute(sql, [template])
            connection.execute(f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else ""))
        return self.url(name)

    def drop(self, name: str) -> None:
        """Drop a database with all connections to it."""
        with closing(self.connect("postgres")) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def settle(self, name: str) -> None:
        """Do now what the server would do by itself some time later: vacuum, statistics, a checkpoint."""
        with closing(self.connect(name)) as connection:
            connection.execute("VACUUM ANALYZE")
            connection.execute("CHECKPOINT")

    def connect(self, name: str, *, autocommit: bool = True) -> Any:
        """Open a connection of psycopg 3."""
        return import_peer("psycopg").connect(self.url(name), autocommit=autocommit)

    def new_ledger(self, name: str, *, pooled: bool = False) -> PostgresLedger:
        """Make a ledger in a database of its own."""
        ledger = ledger_on(self.new_database(name), pooled=pooled)
        ledger.migrate()
        return ledger


def ledger_on(url: str, *, pooled: bool = False) -> PostgresLedger:
    """Return the ledger in a database."""
    from whereupon.ledger import PostgresLedger

    return PostgresLedger(url, own_transaction=True, pooled=pooled)


@contextmanager
def postgres() -> Iterator[Server]:
    """Start a server, and stop and delete it at the end. Raises `PeerMissing`."""
    import_peer("psycopg")
    folder = binaries()
    if folder is None:
        raise PeerMissing(f"PostgreSQL is not installed: {WAY}")
    server = PostgreSQL(folder)
    try:
        yield Server(server)
    finally:
        server.end()
