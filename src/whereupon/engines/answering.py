"""Waits for servers that may not answer at all, and for no longer than a few seconds.

A time limit that the server keeps does not help there, and TCP gives up after minutes.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_T = TypeVar("_T")
_LOST: Final = 60.0
SECONDS: Final = 3.0
"""How long an answer may take: a second longer than servers are asked to take at most."""


class Line:
    """A connection to a server, which is cut when the answer to the last question takes too long.

    `find` returns its socket's descriptor; whatever that raises means that there is nothing to cut now.
    """

    def __init__(self, find: Callable[[], int]) -> None:
        self.is_cut = False
        self._find = find
        self._is_ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="whereupon-line", daemon=True)
        self.ask()
        self._thread.start()

    def ask(self) -> None:
        """Note that the server is asked something now."""
        self._until = time.monotonic() + SECONDS

    def end(self) -> None:
        """Watch it no longer."""
        self._is_ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._is_ended.wait(max(0.0, self._until - time.monotonic())):
            if time.monotonic() >= self._until:
                self.ask()
                with contextlib.suppress(Exception):  # whatever the driver raises of one that is closed
                    self._cut()

    def _cut(self) -> None:
        with socket.socket(fileno=os.dup(self._find())) as line:
            self.is_cut = True
            line.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def answered(find: Callable[[], int]) -> Iterator[Line]:
    """Cut a line to a server that does not answer. Raises `TimeoutError`, whatever the driver makes of it."""
    line = Line(find)
    try:
        yield line
    except Exception:
        if not line.is_cut:
            raise
    finally:
        line.end()
    if line.is_cut:
        raise TimeoutError(f"no answer within {SECONDS:g} s")


class Apart:
    """Makes one call after another on a thread of its own, which may wait as long as it likes."""

    def __init__(self, name: str) -> None:
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._last: Future[Any] | None = None
        self._asked_at = 0.0
        threading.Thread(target=self._run, name=name, daemon=True).start()

    @property
    def is_late(self) -> bool:
        """Tell whether a call that was given up on still goes on, so that others would wait behind it."""
        return self._last is not None and not self._last.done()

    @property
    def is_lost(self) -> bool:
        """Tell whether that has gone on for a minute, so that nothing will come of it."""
        return self.is_late and time.monotonic() - self._asked_at > _LOST

    def within(self, seconds: float, work: Callable[[], _T]) -> _T:
        """Return what a function returns there. Raises `TimeoutError` when it takes longer."""
        future: Future[_T] = Future()

        def run() -> None:
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001 - it is raised where somebody waits
                future.set_exception(error)

        self._last, self._asked_at = future, time.monotonic()
        self._work.put(run)
        try:
            return future.result(seconds)
        except TimeoutError:
            if future.done():
                raise
            raise TimeoutError(f"no answer within {seconds:g} s") from None

    def end(self) -> None:
        """Let the thread end when it has nothing left to do."""
        self._work.put(None)

    def _run(self) -> None:
        while work := self._work.get():
            work()
