"""The helper beside Dramatiq's workers: one for all processes that one command has started."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import multiprocessing
import os
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

import dramatiq

from whereupon.engines.beside import name_of
from whereupon.engines.helper import Helper
from whereupon.engines.processes import describe_process
from whereupon.errors import InvalidConfiguration

if TYPE_CHECKING:
    from whereupon.engines.delivering import Deliverer
    from whereupon.store import EventStore

_log: Final = logging.getLogger("whereupon.relay")


class Helping(dramatiq.Middleware):
    """Sees to it that a helper runs as long as this process works, and gives back what it holds.

    The processes of one parent take turns: the first has the helper, and when it ends another one has it.
    """

    def __init__(self, store: EventStore, name: str | None, deliverer: Deliverer) -> None:
        self._store = store
        self._name = name
        self._deliverer = deliverer
        self._lock = threading.Lock()
        self._turn: int | None = None
        self._helper: Helper | None = None
        self._is_ended = False

    def before_worker_boot(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        """Wait for the turn; a process whose store no helper could find ends before it takes messages."""
        del broker, worker
        try:
            name = name_of(self._store, self._name)
        except InvalidConfiguration as error:
            sys.exit(str(error))
        threading.Thread(target=self._help, args=[name], name="whereupon-turn", daemon=True).start()

    def _help(self, name: str) -> None:
        turn = _wait_for_turn(name)
        with self._lock:
            self._turn = turn
            if not self._is_ended:
                self._helper = Helper(name)

    def after_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        """Stop the helper, and give back what this process holds."""
        del broker, worker
        self._deliverer.close()
        with self._lock:
            self._is_ended = True
            if self._helper is not None:
                self._helper.stop()
            if self._turn is not None:
                os.close(self._turn)  # which lets another process have its turn


def _wait_for_turn(name: str) -> int | None:
    """Wait until no other process of the same parent has a helper for this store.

    Return what to close at the end of the turn; None where nobody has to wait. The lock ends with the process
    and is not inherited. It is on one byte of a file that all have in common, so that none is left behind.
    """
    parent = multiprocessing.parent_process()
    if parent is None or parent.pid is None:
        return None
    group = describe_process("", parent.pid, "dramatiq")
    key = hashlib.blake2b(f"{group.place} {group.pid} {group.born} {name}".encode(), digest_size=7)
    path = Path(tempfile.gettempdir()) / f"whereupon-{os.getuid()}.turns"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        if os.fstat(descriptor).st_uid != os.getuid():
            raise PermissionError(f"{path} belongs to somebody else")
        fcntl.lockf(descriptor, fcntl.LOCK_EX, 1, int.from_bytes(key.digest()))
    except OSError as error:
        _log.warning("each process has a helper of its own: %s", error)
        return None
    return descriptor
