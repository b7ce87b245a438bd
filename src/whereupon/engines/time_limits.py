"""A time limit for each call of a function, on engines whose own limit counts a whole job."""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta
    from typing import NoReturn

_AT_ONCE: Final = 0.001  # seconds; zero would stop the clock


def limited(
    function: Callable[..., object], timeout: timedelta, exceeded: type[Exception]
) -> Callable[..., object]:
    """Return a function that is interrupted by an alarm of the process when it runs for too long.

    A limit of the job would count all events of a group, and the wait for a turn or for the ledger. Only the
    main thread can be interrupted; on others the function runs as it is. The engine's own alarm, if it has
    set one, waits until the call has ended, or has been interrupted.
    """

    def run(*arguments: object) -> object:
        if threading.current_thread() is not threading.main_thread():
            return function(*arguments)
        alarm = _Alarm(exceeded(f"it ran over its time limit of {timeout}"))
        try:
            signal.setitimer(signal.ITIMER_REAL, timeout.total_seconds())
            return function(*arguments)
        finally:
            alarm.give_back()

    return run


class _Alarm:
    """Borrows the alarm of the process, until it strikes or is given back."""

    def __init__(self, exceeded: Exception) -> None:
        self._exceeded = exceeded
        self._is_borrowed = True
        self._since = time.monotonic()
        self._rest, _ = signal.getitimer(signal.ITIMER_REAL)
        self._previous = signal.signal(signal.SIGALRM, self._strike)

    def _strike(self, *_: object) -> NoReturn:
        self.give_back()
        raise self._exceeded

    def give_back(self) -> None:
        """Leave alarm and handler as they would be by now."""
        if not self._is_borrowed:
            return
        signal.setitimer(signal.ITIMER_REAL, 0)
        self._is_borrowed = False
        signal.signal(signal.SIGALRM, signal.SIG_DFL if self._previous is None else self._previous)
        if self._rest:
            left = self._rest - time.monotonic() + self._since
            signal.setitimer(signal.ITIMER_REAL, max(left, _AT_ONCE))
