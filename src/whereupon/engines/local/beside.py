"""Local workers beside an application server, for development and small sites: they end with it."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import Final

from whereupon.engines.beside import end_with, start_beside
from whereupon.engines.local.process import Settings
from whereupon.engines.local.supervisor import Supervisor
from whereupon.loading import configure_logging, load_store

_GRACE: Final = 10.0
"""Seconds that running handlers get when the application ends."""


class WorkerBeside:
    """A supervisor with one worker process, started by the application and ended with it, however it ends.

    It imports the store by `name`, with the import path of the application. Signals from the terminal do
    not reach it: it ends when `stop` is called, or the application is gone.
    """

    def __init__(self, name: str) -> None:
        self._ours, theirs = socket.socketpair()
        with theirs:
            self._process = start_beside(__name__, name, theirs)

    @property
    def pid(self) -> int:
        """The process of the supervisor."""
        return self._process.pid

    def stop(self) -> None:
        """Let running handlers finish for ten seconds, and end the workers."""
        self._ours.close()
        try:
            self._process.wait(_GRACE + 10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def main(arguments: list[str]) -> int:
    """Supervise a worker until the application at the other end of the socket is gone."""
    name, descriptor = arguments
    configure_logging("info")
    store = load_store(name)
    supervisor = Supervisor(store, name, Settings("", grace=_GRACE), 1)
    end_with(descriptor)
    return supervisor.run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
