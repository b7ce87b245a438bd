"""Processes beside the application: started with its import path, and ended with it, however it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Final

from whereupon.errors import InvalidConfiguration
from whereupon.loading import VARIABLE

if TYPE_CHECKING:
    from whereupon.store import EventStore

_EXAMPLE: Final = 'store_name="shop.event_store:store"'


def start_beside(module: str, store_name: str, theirs: socket.socket) -> subprocess.Popen[bytes]:
    """Run a module as a process of its own, with the name of a store and one end of a socket pair.

    Signals from the terminal do not reach it.
    """
    path = os.pathsep.join(filter(None, map(os.path.abspath, sys.path)))
    return subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, "-m", module, store_name, str(theirs.fileno())],
        pass_fds=[theirs.fileno()],
        env=os.environ | {"PYTHONPATH": path},
        start_new_session=True,
    )


def end_with(descriptor: str) -> None:
    """Send this process SIGTERM when nobody holds the other end of its socket any more."""
    application = socket.socket(fileno=int(descriptor))

    def wait() -> None:
        with contextlib.suppress(OSError):
            application.recv(1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


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
