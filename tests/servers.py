"""Servers of the tests' own: PostgreSQL on a free port in a temporary folder, started once for a run.

`WHEREUPON_TEST_POSTGRES=URL` names another server, on which databases may be made. Where there is none, a
test is skipped with the way to get one; with `WHEREUPON_REQUIRE_SERVICES=1`, as in CI, it fails.
"""

from __future__ import annotations

import atexit
import functools
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest

_PLACES = "/usr/lib/postgresql/*/bin", "/opt/homebrew/opt/postgresql*/bin", "/usr/pgsql-*/bin"


class PostgreSQL:
    """One server: started, stopped, killed and started again by the tests."""

    def __init__(self, bin_folder: Path, *settings: str) -> None:
        self._bin = bin_folder
        self._settings = settings
        self.folder = Path(tempfile.mkdtemp(prefix="whereupon-postgres-"))
        self.port = free_port()
        self.user = {}
        if os.getuid() == 0:  # PostgreSQL refuses to run as root
            nobody = pwd.getpwnam("postgres") if _has_user("postgres") else pwd.getpwnam("nobody")
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
            self.user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        self._data = self.folder / "data"
        self._run(
            "initdb",
            "-D",
            self._data,
            "-U",
            "whereupon",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-sync",
            "--locale=C.UTF-8",
        )
        self.start()

    def _run(self, command: str, *arguments: object, check: bool = True) -> None:
        done = subprocess.run(
            [self._bin / command, *map(str, arguments)],
            capture_output=True, text=True, cwd=self.folder, **self.user,
        )  # fmt: skip
        if check and done.returncode:
            raise RuntimeError(f"{command}: {done.stdout}{done.stderr}")

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c max_connections=200"
        options += "".join(f" -c {each}" for each in self._settings)
        self._run("pg_ctl", "-D", self._data, "-w", "-l", self.folder / "log", "-o", options, "start")

    def stop(self, mode: str = "immediate") -> None:
        """Stop the server: `immediate` is a crash, as after a power cut that kept what was flushed."""
        self._run("pg_ctl", "-D", self._data, "-w", "-m", mode, "stop", check=False)

    def end(self) -> None:
        """Stop the server and delete its folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str = "postgres", user: str = "whereupon") -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"


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


def wait_for_port(port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        with closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if time.monotonic() > deadline:
            raise TimeoutError(f"nobody listens on port {port}")
        time.sleep(0.02)


def pgbouncer(server: PostgreSQL) -> PgBouncer:
    """Start a pooler before a server."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        missing("PgBouncer", "apt install pgbouncer")
    return PgBouncer(program, server)


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _has_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def own_postgres(*settings: str) -> PostgreSQL:
    """Start a server for one test, which may stop it."""
    folder = _binaries()
    if folder is None:
        missing("PostgreSQL", "apt install postgresql, or set WHEREUPON_TEST_POSTGRES to a URL")
    return PostgreSQL(folder, *settings)


def missing(what: str, way: str) -> None:
    """Skip a test whose server is not there, or fail where that may not be."""
    text = f"{what} is not installed: {way}"
    if os.environ.get("WHEREUPON_REQUIRE_SERVICES"):
        pytest.fail(text, pytrace=False)
    pytest.skip(text)


@functools.cache
def _binaries() -> Path | None:
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    folders = sorted(
        path for place in _PLACES for path in Path("/").glob(place[1:]) if (path / "initdb").exists()
    )
    return folders[-1] if folders else None


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
