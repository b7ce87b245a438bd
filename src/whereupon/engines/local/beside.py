"""Local workers beside an application server, for development and small sites: they end with it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Final

from whereupon.engines.local.process import Settings
from whereupon.engines.local.supervisor import Supervisor
from whereupon.errors import InvalidConfiguration
from whereupon.loading import VARIABLE, configure_logging, load_store

if TYPE_CHECKING:
    from whereupon.store import EventStore

_GRACE: Final = 10.0
"""Seconds that running handlers get when the application ends."""
_EXAMPLE: Final = 'store_name="shop.event_store:store"'


class WorkerBeside:
    """A supervisor with one worker process, started by the application and ended with it, however it ends.

    It imports the store by `name`, with the import path of the application. Signals from the terminal do
    not reach it: it ends when `stop` is called, or the application is gone.
    """

    def __init__(self, name: str) -> None:
        self._ours, theirs = socket.socketpair()
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(filter(None, map(os.path.abspath, sys.path)))
        }
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter
                [sys.executable, "-m", __name__, name, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=environment,
                start_new_session=True,
            )

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


def name_of(store: EventStore, given: str | None = None) -> str:
    """Return under which name a worker can import a store: as given, or as it is found in the modules.

    Raises `InvalidConfiguration` where it is found nowhere, or in several modules and none of them is
    called `event_store` or named by WHEREUPON_STORE.
    """
    if given:
        return given
    names = [
        f"{name}:{attribute}"
        for name, module in list(sys.modules.items())
        if name != "__main__" and module is not None
        for attribute, value in list(vars(module).items())
        if value is store
    ]
    likely = [each for each in names if each.partition(":")[0].rpartition(".")[2] == "event_store"]
    chosen = [each for each in names if each == os.environ.get(VARIABLE)] or likely or names
    if len(chosen) != 1:
        found = f"is found as {', '.join(sorted(names))}" if names else "is found in no module"
        raise InvalidConfiguration(f"the store {found}, so workers cannot tell what to import", fix=_EXAMPLE)
    return chosen[0]


def main(arguments: list[str]) -> int:
    """Supervise a worker until the application at the other end of the socket is gone."""
    name, descriptor = arguments
    application = socket.socket(fileno=int(descriptor))
    configure_logging("info")
    store = load_store(name)
    supervisor = Supervisor(store, name, Settings("", grace=_GRACE), 1)
    threading.Thread(target=_end_with, args=[application], daemon=True).start()
    return supervisor.run()


def _end_with(application: socket.socket) -> None:
    with contextlib.suppress(OSError):
        application.recv(1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
