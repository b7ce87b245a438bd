"""A PostgreSQL of Procrastinate's own, which the tests may kill."""

from __future__ import annotations

import psycopg
import pytest
from procrastinate.schema import SchemaManager

from tests.servers import own_postgres


class Database:
    """A server with Procrastinate's tables."""

    def __init__(self) -> None:
        self._server = own_postgres("fsync=off")
        self.port = self._server.port
        self.url = self._server.url()
        self.execute(SchemaManager.get_schema())

    def execute(self, statement: str, *arguments: object) -> list[tuple]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(statement, arguments or None)
            return cursor.fetchall() if cursor.description else []

    def jobs(self) -> list[tuple]:
        return self.execute("SELECT task_name, status::text FROM procrastinate_jobs ORDER BY id")

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
