"""A Redis server for one row: its own, keeping nothing on disk, on the core of the process that measures.

What a round trip costs changes threefold with where both run, so they share a core, and the row says what a
PING took in the same rounds.
"""

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
def redis_on_our_core() -> Iterator[int]:
    """Start a server on a port of its own, and keep it and this process on one core. Raises `PeerMissing`."""
    program = shutil.which("redis-server")
    if program is None:
        raise PeerMissing("Redis is not installed: apt install redis-server")
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})  # which the server inherits
    port = free_port()
    try:
        with tempfile.TemporaryDirectory(prefix="whereupon-bench-redis-") as folder:
            command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
            server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            try:
                connect(port).close()
                yield port
            finally:
                server.kill()
                server.wait()
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
