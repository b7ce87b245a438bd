"""A PostgreSQL of Procrastinate's own, which the tests may kill."""

from __future__ import annotations

import contextlib

import psycopg
import pytest
from procrastinate.schema import SchemaManager

from tests.servers import own_postgres


class Database:
    """A server with Procrastinate's tables."""

    def __init__(self) -> None:
        self._server = own_postgres("fsync=off", "log_line_prefix=%a:")
        self.port = self._server.port
        self.url = self._server.url()
        self.execute(SchemaManager.get_schema())

    def execute(self, statement: str, *arguments: object) -> list[tuple]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(statement, arguments or None)
            return cursor.fetchall() if cursor.description else []

    def jobs(self, status: str) -> list[str]:
        rows = self.execute("SELECT task_name FROM procrastinate_jobs WHERE status = %s ORDER BY 1", status)
        return [task for (task,) in rows]

    @contextlib.contextmanager
    def statements(self):
        """Let connections that are opened from now on log what they ask; give a function that returns it."""
        log = self._server.folder / "log"
        self.execute("ALTER ROLE whereupon SET log_statement = 'all'")
        before = len(log.read_text())
        try:
            yield lambda: [
                line for line in log.read_text()[before:].splitlines() if line.startswith("whereupon:LOG:")
            ]
        finally:
            self.execute("ALTER ROLE whereupon RESET log_statement")

    def stopped(self):
        return self._server.stopped()

    def lose_everything(self) -> None:
        self.execute("DELETE FROM procrastinate_jobs")

    def kill(self) -> None:
        self._server.stop("immediate")

    def start(self) -> None:
        self._server.start()

    def end(self) -> None:
        self._server.end()


@pytest.fixture(scope="session")
def database():
    database = Database()
    yield database
    database.end()
