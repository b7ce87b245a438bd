"""A Redis server for one row: its own, keeping nothing on disk."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.postgres_server import free_port

from bench.peers import PeerMissing, import_peer

_START = 10.0  # seconds


@contextmanager
def redis_server() -> Iterator[int]:
    """Start a server on a port of its own. Raises `PeerMissing`."""
    program = shutil.which("redis-server")
    if program is None:
        raise PeerMissing("Redis is not installed: apt install redis-server")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="whereupon-bench-redis-") as folder:
        command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            connect(port).close()
            yield port
        finally:
            server.kill()
            server.wait()


@contextmanager
def on_our_core() -> Iterator[None]:
    """Keep this process, and the servers that it starts meanwhile, on one core.

    What a round trip costs changes threefold with where both run, so a row says what an answer took in the
    same rounds.
    """
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})  # which a server inherits
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def connect(port: int) -> Any:
    """Return a client of a server, once that answers."""
    redis = import_peer("redis")
    client = redis.Redis(port=port)
    deadline = time.monotonic() + _START
    while True:
        try:
            client.ping()
        except redis.ConnectionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return client
