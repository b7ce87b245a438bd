"""Ending what another thread has open on its SQLite connection."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from typing import TYPE_CHECKING, Final

from whereupon.ledger.sqlite_connection import run

if TYPE_CHECKING:
    from collections.abc import Callable

_READ_ONLY: Final = "PRAGMA query_only = ON"
_READ_WRITE: Final = "PRAGMA query_only = OFF"
_PATIENCE: Final = 1.0  # seconds until it is left to the other thread
_STEP: Final = 0.02  # seconds that a statement of the other thread may run on, each time
_PAUSE: Final = 0.005


def stop(connection: sqlite3.Connection) -> Callable[[], None]:
    """Roll back, and let nothing be written any more; return what undoes that, for the other thread to call.

    The caller has seen to it that the other thread begins no new statement: SQLite itself rolls back where it
    interrupts one that writes, and what came next would be a transaction of its own. One that runs is
    interrupted, and no other time, as then nothing at all would run until all cursors are closed.

    An authorizer would be shorter, and would hang the process: SQLite calls it with its mutex held, and it
    waits for the GIL, which the other thread may hold while it waits for the mutex. For the same reason no
    statement here may call anything of Python, such as a trace callback.
    """

    def has_ended(seconds: float) -> bool:
        thread.join(seconds)
        return not thread.is_alive()

    given_up = threading.Event()
    thread = threading.Thread(target=_roll_back, args=(connection, given_up), daemon=True)
    thread.start()
    interrupted(connection, has_ended)
    given_up.set()

    def undo() -> None:
        thread.join()
        with contextlib.suppress(sqlite3.Error):
            run(connection, _READ_WRITE)

    return undo


def interrupted(connection: sqlite3.Connection, wait: Callable[[float], bool]) -> bool:
    """Interrupt what runs on a connection until a wait of so many seconds says that it has ended.

    Return False when it has not in a second.
    """
    deadline = time.monotonic() + _PATIENCE
    while not wait(_STEP):
        if time.monotonic() > deadline:
            return False
        with contextlib.suppress(sqlite3.Error):
            connection.interrupt()
    return True


def _roll_back(connection: sqlite3.Connection, given_up: threading.Event) -> None:
    while not given_up.is_set():
        try:
            run(connection, _READ_ONLY)
            if connection.in_transaction:
                run(connection, "ROLLBACK")
        except sqlite3.ProgrammingError:  # it is closed, or for use in its own thread only
            return
        except (sqlite3.Error, SystemError):  # interrupted; CPython may find no error for it
            given_up.wait(_PAUSE)
        else:
            return
