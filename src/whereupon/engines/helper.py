"""The helper of an engine's worker: relay, beats, rescue and purge, in a process of their own.

It starts and ends with the worker that it helps, or runs alone as `whereupon relay`. It runs no handler but
that of a delivery on its last chance, in a process apart.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Final

from whereupon.engines.beside import end_with, start_beside
from whereupon.engines.local.process import Settings
from whereupon.engines.local.supervisor import Supervisor
from whereupon.errors import WhereuponError
from whereupon.loading import configure_logging, load_store
from whereupon.relay import Relay

if TYPE_CHECKING:
    from whereupon.engine_protocol import Engine
    from whereupon.store import EventStore

_RETRY: Final = 1.0  # seconds until a relay begins again whose ledger went away, or a helper that died
_GRACE: Final = 5.0

_log = logging.getLogger("whereupon.relay")


class Helper:
    """Keeps a helper process running beside a worker, and ends it with the worker, however that ends.

    It imports the store by `name`, with the import path of the worker.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._pid = os.getpid()
        self._ours, self._theirs = socket.socketpair()
        self._is_ended = threading.Event()
        self._process = self._start()
        threading.Thread(target=self._keep, name="whereupon-helper", daemon=True).start()

    @property
    def pid(self) -> int:
        """The process of the helper."""
        return self._process.pid

    def _start(self) -> subprocess.Popen[bytes]:
        return start_beside(__name__, self._name, self._theirs)

    def _keep(self) -> None:
        while True:
            status = self._process.wait()
            if self._is_ended.wait(_RETRY) or self._pid != os.getpid():
                return
            _log.error("the helper process ended with status %d and is started again", status)
            self._process = self._start()

    def stop(self) -> None:
        """End the helper process."""
        if self._pid != os.getpid():
            return
        self._is_ended.set()
        self._ours.close()
        self._process.terminate()
        try:
            self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._theirs.close()


def relay(store: EventStore, name: str, engine: Engine, level: str = "info") -> int:
    """Relay, beat, rescue and purge for a store until a signal; return the exit status."""
    ended = threading.Event()
    threading.Thread(target=_relay, args=[store, engine, ended], name="whereupon-relay", daemon=True).start()
    try:
        return Supervisor(store, name, Settings("", grace=_GRACE), 0, level).run()
    finally:
        ended.set()


def _relay(store: EventStore, engine: Engine, ended: threading.Event) -> None:
    """Relay, and begin again when the ledger has been away. Nothing here keeps the beats from going on."""
    told = ""
    while not ended.is_set():
        try:
            connection = store.ledger.connect()
            try:
                Relay(store, engine).run(connection, ended)
            finally:
                connection.close()
                engine.close()
        except WhereuponError as error:
            if str(error) != told:
                told = str(error)
                _log.error("%s", error)
        except Exception:  # noqa: BLE001 - the beats go on meanwhile
            _log.exception("the relay failed and begins again; please report this")
        ended.wait(_RETRY)


def main(arguments: list[str]) -> int:
    """Help until the worker at the other end of the socket is gone."""
    name, descriptor = arguments
    configure_logging("info")
    store = load_store(name)
    store.install()
    if store.engine is None:
        _log.error("the store %s has no engine, so there is nothing to relay to", name)
        return 2
    end_with(descriptor)
    return relay(store, name, store.engine)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
