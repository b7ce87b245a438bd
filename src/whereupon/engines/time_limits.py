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
    set one, waits until the call has ended.
    """

    def strike(*_: object) -> NoReturn:
        raise exceeded(f"it ran over its time limit of {timeout}")

    def run(*arguments: object) -> object:
        if threading.current_thread() is not threading.main_thread():
            return function(*arguments)
        started = time.monotonic()
        rest, _ = signal.getitimer(signal.ITIMER_REAL)
        previous = signal.signal(signal.SIGALRM, strike)
        try:
            try:
                signal.setitimer(signal.ITIMER_REAL, timeout.total_seconds())
                return function(*arguments)
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        finally:
            signal.signal(signal.SIGALRM, signal.SIG_DFL if previous is None else previous)
            if rest:
                signal.setitimer(signal.ITIMER_REAL, max(rest - time.monotonic() + started, _AT_ONCE))

    return run
