"""Servers of the tests' own: PostgreSQL on a free port in a temporary folder, started once for a run.

`WHEREUPON_TEST_POSTGRES=URL` names another server, on which databases may be made. Where there is none, a
test is skipped with the way to get one; with `WHEREUPON_REQUIRE_SERVICES=1`, as in CI, it fails.
"""

from __future__ import annotations

import atexit
import functools
import os
from contextlib import closing
from uuid import uuid4

import pytest

from tests.postgres_server import WAY, PostgreSQL, binaries


def own_postgres(*settings: str) -> PostgreSQL:
    """Start a server for one test, which may stop it."""
    folder = binaries()
    if folder is None:
        missing("PostgreSQL", f"{WAY}, or set WHEREUPON_TEST_POSTGRES to a URL")
    return PostgreSQL(folder, *settings)


def missing(what: str, way: str) -> None:
    """Skip a test whose server is not there, or fail where that may not be."""
    text = f"{what} is not installed: {way}"
    if os.environ.get("WHEREUPON_REQUIRE_SERVICES"):
        pytest.fail(text, pytrace=False)
    pytest.skip(text)


@functools.cache
def _shared() -> PostgreSQL:
    server = own_postgres("fsync=off")  # a crash of the server alone loses nothing without it
    atexit.register(_end, server, os.getpid())
    return server


def _end(server: PostgreSQL, pid: int) -> None:
    if os.getpid() == pid:  # and not in a fork of the test process
        server.end()


def new_database() -> str:
    """Make an empty database on the tests' server and return its URL."""
    import psycopg

    url = os.environ.get("WHEREUPON_TEST_POSTGRES") or _shared().url()
    name = f"test_{uuid4().hex}"
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    start, _, _ = url.rpartition("/")
    return f"{start}/{name}"
