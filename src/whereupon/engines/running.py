"""Running subscribers in a process of an engine: functions where they are, coroutines on one loop."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from whereupon.engines.jobs import job_name
from whereupon.handling import ahandle, handle

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from whereupon.deliveries import Close
    from whereupon.handling import Call
    from whereupon.store import EventStore
    from whereupon.subscribers import Subscriber

attempts: Final[ContextVar[int]] = ContextVar("whereupon_attempts", default=0)
"""How many attempts of the delivery that is being handled have failed before."""


class Runner:
    """Calls subscribers as a worker does. Behind a fork it begins anew."""

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._turns: dict[str, threading.Semaphore] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def turn(self, subscriber: Subscriber) -> AbstractContextManager[object]:
        """Return what is entered while a subscriber runs: as many at once as its `concurrency=` allows."""
        limit = subscriber.options.concurrency
        if limit is None:
            return contextlib.nullcontext()
        if self._pid != os.getpid():
            self._begin()
        with self._lock:
            return self._turns.setdefault(job_name(subscriber), threading.Semaphore(limit))

    def run(self, call: Call) -> list[Close]:
        """Call a subscriber, wait until it has ended, and return how its claims end."""
        if not call.subscription.subscriber.is_async:
            context = contextvars.copy_context()
            context.run(attempts.set, call.first.claim.attempts)
            return context.run(handle, self._store, call)
        loop = self._running_loop()
        limit = asyncio.Timeout(loop.time() + call.time_limit.total_seconds() if call.time_limit else None)
        future = asyncio.run_coroutine_threadsafe(ahandle(self._store, call, limit), loop)
        try:
            return future.result()
        except Exception:  # noqa: BLE001 - what the coroutine raised comes again
            if not future.done():  # a time limit of the job has struck, in this thread
                loop.call_soon_threadsafe(_expire, limit, loop.time())
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._pid != os.getpid():
            self._begin()
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="whereupon-loop", daemon=True).start()
            return self._loop


def _expire(limit: asyncio.Timeout, now: float) -> None:
    with contextlib.suppress(RuntimeError):  # it has ended meanwhile
        limit.reschedule(now)
