"""Servers of the tests' own: PostgreSQL on a free port in a temporary folder, started once for a run.

`WHEREUPON_TEST_POSTGRES=URL` names another server, on which databases may be made. Where there is none, a
test is skipped with the way to get one; with `WHEREUPON_REQUIRE_SERVICES=1`, as in CI, it fails.
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import tempfile
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest

from tests.postgres_server import WAY, PostgreSQL, binaries, free_port, wait_for_port


class PgBouncer:
    """A pooler in transaction mode before a server."""

    def __init__(self, program: str, server: PostgreSQL) -> None:
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="whereupon-pgbouncer-"))
        (self.folder / "users").write_text('"whereupon" ""\n')
        (self.folder / "ini").write_text(
            f"[databases]\n* = host=127.0.0.1 port={server.port}\n[pgbouncer]\nlisten_addr=127.0.0.1\n"
            f"listen_port={self.port}\nauth_type=trust\nauth_file={self.folder}/users\n"
            f"pool_mode=transaction\nunix_socket_dir=\nlogfile={self.folder}/log\nmax_client_conn=200\n"
            "default_pool_size=20\nignore_startup_parameters=extra_float_digits\n"
        )
        if server.user:
            for path in (self.folder, *self.folder.iterdir()):
                os.chown(path, server.user["user"], server.user["group"])
        self._process = subprocess.Popen(
            [program, "-q", str(self.folder / "ini")], cwd=self.folder, **server.user
        )
        wait_for_port(self.port)

    def url(self, database: str) -> str:
        return f"postgresql://whereupon@127.0.0.1:{self.port}/{database}"

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def pgbouncer(server: PostgreSQL) -> PgBouncer:
    """Start a pooler before a server."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        missing("PgBouncer", "apt install pgbouncer")
    return PgBouncer(program, server)


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
