"""Idle connections of a ledger, kept for the next transaction."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class _Pooled(Protocol):
    def is_current(self) -> bool: ...

    def close(self) -> None: ...


_C = TypeVar("_C", bound=_Pooled)


class Pool(Generic[_C]):
    """Idle connections of one ledger in one process; a fork starts with none."""

    def __init__(self) -> None:
        self._idle: list[_C] = []
        self._lock = threading.Lock()
        self._pid = os.getpid()
        weakref.finalize(self, _close_all, self._idle, self._pid)

    @contextlib.contextmanager
    def borrowed(self, connect: Callable[[], _C]) -> Iterator[_C]:
        """Lend a connection; it is closed instead of kept when something went wrong with it."""
        connection = self._take() or connect()
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        with self._lock:
            self._idle.append(connection)

    def _take(self) -> _C | None:
        with self._lock:
            if self._pid != os.getpid():
                self._pid = os.getpid()
                self._idle = []  # a handle must not be used, nor closed, behind a fork
            while self._idle:
                connection = self._idle.pop()
                if connection.is_current():
                    return connection
                connection.close()
        return None


def _close_all(idle: list[_C], pid: int) -> None:
    if pid == os.getpid():
        for connection in idle:
            connection.close()
