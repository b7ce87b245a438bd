"""A PostgreSQL server of one's own: started from installed binaries, in a temporary folder, on a free port.

For tests and for the bench; nothing here needs pytest.
"""

from __future__ import annotations

import functools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

_PLACES = "/usr/lib/postgresql/*/bin", "/opt/homebrew/opt/postgresql*/bin", "/usr/pgsql-*/bin"
_INITDB = "-U", "whereupon", "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C.UTF-8"
WAY = "apt install postgresql"
"""How to get the binaries on most machines."""


class PostgreSQL:
    """One server: started, stopped, killed and started again by whoever made it."""

    def __init__(self, bin_folder: Path, *settings: str) -> None:
        self._bin = bin_folder
        self._settings = settings
        self.folder = Path(tempfile.mkdtemp(prefix="whereupon-postgres-"))
        self.port = free_port()
        self.user: dict[str, Any] = {}
        if os.getuid() == 0:  # PostgreSQL refuses to run as root
            nobody = pwd.getpwnam("postgres") if _has_user("postgres") else pwd.getpwnam("nobody")
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
            self.user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        self._data = self.folder / "data"
        try:
            self._run("initdb", "-D", self._data, *_INITDB)
            self.start()
        except BaseException:
            self.end()
            raise

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

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Let the server answer nobody, while the system still takes connections for it."""
        import psycopg

        with closing(psycopg.connect(self.url())) as connection:
            others = "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            pids = [pid for (pid,) in connection.execute(others)]
        pids.append(int((self._data / "postmaster.pid").read_text().split()[0]))
        try:
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def end(self) -> None:
        """Stop the server and delete its folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str = "postgres", user: str = "whereupon") -> str:
        """Return the URL of a database, over TCP."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def socket_url(self, database: str = "postgres", user: str = "whereupon") -> str:
        """Return the URL of a database, over the server's Unix socket."""
        return f"postgresql://{user}@{quote(str(self.folder), safe='')}:{self.port}/{database}"


def free_port() -> int:
    """Return a port that nothing listens on."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_port(port: int, seconds: float = 10.0) -> None:
    """Wait until somebody listens on a port. Raises `TimeoutError`."""
    deadline = time.monotonic() + seconds
    while True:
        with closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if time.monotonic() > deadline:
            raise TimeoutError(f"nobody listens on port {port}")
        time.sleep(0.02)


def _has_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


@functools.cache
def binaries() -> Path | None:
    """Return the folder of `initdb` and `pg_ctl`; None where PostgreSQL is not installed."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    folders = sorted(
        path for place in _PLACES for path in Path("/").glob(place[1:]) if (path / "initdb").exists()
    )
    return folders[-1] if folders else None
