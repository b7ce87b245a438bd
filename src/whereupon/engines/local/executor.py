"""Where handlers run: threads for functions, one event loop for coroutine functions."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final, NamedTuple

from whereupon.deliveries import Claim, Close, Done, Released
from whereupon.handling import Call, ahandle, handle, overrun

if TYPE_CHECKING:
    from collections.abc import Callable

    from whereupon.ledger_protocol import Atomic
    from whereupon.store import EventStore
    from whereupon.subscriptions import Subscription


_IN_TURN: Final = object()
"""The lane of atomic subscribers on a ledger where they run one at a time."""


@dataclass(slots=True, eq=False)
class Job:
    """The calls of one group, or one call, on their way through the executor. Times are monotonic."""

    subscription: Subscription
    calls: list[Call]
    submitted: float = field(default_factory=time.monotonic)
    started: float | None = None
    running: Call | None = None
    atomic: Atomic | None = None
    overran: set[Call] = field(default_factory=set)

    def claims(self) -> list[Claim]:
        """Return the claims of calls that have not ended."""
        return [each.claim for call in self.calls for each in call.prepared]


class Finished(NamedTuple):
    """A call that has ended: its closes, and how many seconds it took."""

    call: Call
    closes: list[Close]
    seconds: float


class Load(NamedTuple):
    """How busy an executor is: places held by long jobs, by subscription, and threads that are idle."""

    held: Counter[Subscription]
    idle_threads: int


class Executor:
    """Runs jobs, no more of one subscriber at once than it allows, and reports each call that ends.

    All methods are for the one thread that owns the executor. `wake` is called, from any thread, when a
    call has ended.
    """

    def __init__(self, store: EventStore, threads: int, coroutines: int, wake: Callable[[], None]) -> None:
        self._store = store
        self._threads = threads
        self._coroutines = coroutines
        self._wake = wake
        self._lock = threading.Lock()
        self._waiting: dict[object, deque[Job]] = defaultdict(deque)
        self._active: dict[object, int] = defaultdict(int)
        self._running: set[Job] = set()
        self._finished: deque[Finished] = deque()
        self._turns: SimpleQueue[object] = SimpleQueue()
        self._started_threads = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: dict[Job, asyncio.Task[None]] = {}

    def slots(self, subscription: Subscription) -> int:
        """Return how many jobs of a subscription may run at once."""
        options = subscription.subscriber.options
        if options.atomic and self._store.ledger.takes_turns:
            return 1
        most = self._coroutines if subscription.subscriber.is_async else self._threads
        return min(most, options.concurrency or most)

    def _lane(self, subscription: Subscription) -> object:
        """Return what a job waits in: its subscription's own lane, or the one of all that take turns.

        Functions and coroutines are started in different ways, and have a lane each.
        """
        takes_turns = subscription.subscriber.options.atomic and self._store.ledger.takes_turns
        return (_IN_TURN, subscription.subscriber.is_async) if takes_turns else subscription

    def submit(self, job: Job) -> None:
        """Start a job as soon as there is a place for it."""
        lane = self._lane(job.subscription)
        with self._lock:
            self._waiting[lane].append(job)
            if self._active[lane] >= self.slots(job.subscription):
                return
            self._active[lane] += 1
        if job.subscription.subscriber.is_async:
            self._running_loop().call_soon_threadsafe(self._start_task, lane)
            return
        self._turns.put(lane)
        if self._started_threads < self._threads:
            self._started_threads += 1
            name = f"whereupon-{self._started_threads}"
            threading.Thread(target=self._work, name=name, daemon=True).start()

    def _next(self, lane: object) -> Job | None:
        """Take the next waiting job of a lane; None gives the place up."""
        with self._lock:
            if not self._waiting[lane]:
                self._active[lane] -= 1
                return None
            job = self._waiting[lane].popleft()
            job.started = time.monotonic()
            self._running.add(job)
            return job

    def _work(self) -> None:
        while True:
            lane = self._turns.get()
            job = self._next(lane)
            if job is None:
                continue
            while job.calls:
                self._run(job, job.calls[0])
            with self._lock:
                self._running.discard(job)
            self._turns.put(lane)

    def _run(self, job: Job, call: Call) -> None:
        started = job.started = time.monotonic()
        job.running = call

        def watch(atomic: Atomic) -> None:
            job.started = time.monotonic()  # the time limit does not count the wait for the lock
            job.atomic = atomic

        closes = contextvars.copy_context().run(handle, self._store, call, watch)
        self._end(job, call, closes, started)

    def _end(self, job: Job, call: Call, closes: list[Close], started: float) -> None:
        seconds = time.monotonic() - started
        with self._lock:  # at once, so that `claims` sees each call in one place or the other
            job.atomic = job.running = None
            job.calls.pop(0)
            if call in job.overran:
                closes = _late(call, closes)
            self._finished.append(Finished(call, closes, seconds))
        self._wake()

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=self._loop.run_forever, name="whereupon-loop", daemon=True).start()
        return self._loop

    def _start_task(self, lane: object) -> None:
        job = self._next(lane)
        if job is not None:
            assert self._loop is not None  # noqa: S101 - we run in it
            self._tasks[job] = self._loop.create_task(self._await(job, lane))

    async def _await(self, job: Job, lane: object) -> None:
        try:
            while job.calls:
                call, started = job.calls[0], time.monotonic()
                limit = asyncio.timeout(call.time_limit.total_seconds() if call.time_limit else None)
                closes = await ahandle(self._store, call, limit)
                self._end(job, call, closes, started)
        except asyncio.CancelledError:
            for call in list(job.calls):
                closes = [Close(each.claim, Released()) for each in call.prepared]
                self._end(job, call, closes, time.monotonic())
        finally:
            self._tasks.pop(job, None)
            with self._lock:
                self._running.discard(job)
            self._start_task(lane)

    def is_busy(self) -> bool:
        """Tell whether anything waits, runs, or has ended and was not reported yet."""
        return bool(self._running or self._finished or any(self._waiting.values()))

    def finished(self) -> list[Finished]:
        """Return the calls that have ended since the last time."""
        ended: list[Finished] = []
        while self._finished:
            ended.append(self._finished.popleft())
        return ended

    def claims(self) -> list[Claim]:
        """Return all claims in hand: waiting, running, or ended and not reported yet."""
        with self._lock:
            jobs = [job for waiting in self._waiting.values() for job in waiting] + list(self._running)
            calls = [call for job in jobs for call in job.calls] + [each.call for each in self._finished]
            return [each.claim for call in calls for each in call.prepared]

    def withdraw(self, waited: float = 0.0) -> list[Claim]:
        """Take back the jobs that have not been started for so many seconds."""
        limit = time.monotonic() - waited
        withdrawn: list[Job] = []
        with self._lock:
            for waiting in self._waiting.values():
                while waiting and waiting[0].submitted <= limit:
                    withdrawn.append(waiting.popleft())
        return [claim for job in withdrawn for claim in job.claims()]

    def load(self, horizon: float) -> Load:
        """Count what is in hand; a job that has run for longer than `horizon` seconds holds its place."""
        limit = time.monotonic() - horizon
        with self._lock:
            held = Counter(job.subscription for job in self._running if (job.started or limit) <= limit)
            in_threads = sum(1 for job in self._running if not job.subscription.subscriber.is_async)
            waiting = sum(
                1
                for jobs in self._waiting.values()
                for job in jobs
                if not job.subscription.subscriber.is_async
            )
        return Load(held, max(0, self._threads - in_threads - waiting))

    def running(self) -> int:
        """Return how many jobs have been started and have not ended, without those over their limit."""
        with self._lock:
            return sum(1 for job in self._running if not job.overran)

    def overrunning(self) -> list[Job]:
        """Return the jobs in threads that are over their time limit, new ones and known ones."""
        now = time.monotonic()
        with self._lock:
            return [job for job in self._running if job.overran or _is_over(job, now)]

    def note_overrun(self, job: Job) -> Call | None:
        """Count the running call of a job as failed, and end its transaction; None if it ended meanwhile."""
        with self._lock:
            call, atomic = job.running, job.atomic
            if call is None or call in job.overran:
                return None
            job.overran.add(call)
        if atomic is not None:
            atomic.expire()
        return call

    def cancel_coroutines(self) -> None:
        """Cancel what runs in the event loop; each is reported as released."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(lambda: [task.cancel() for task in self._tasks.values()])


def _late(call: Call, closes: list[Close]) -> list[Close]:
    """Keep the success of a handler over its limit; otherwise its failure has been counted already.

    An atomic one cannot have succeeded, as its transaction was rolled back.
    """
    ended = {id(each.claim) for each in closes if isinstance(each.result, Done)}
    return [
        Close(each.claim, Done() if id(each.claim) in ended else overrun(call, each.claim))
        for each in call.prepared
    ]


def _is_over(job: Job, now: float) -> bool:
    if job.running is None or job.started is None or job.subscription.subscriber.is_async:
        return False
    limit = job.running.time_limit
    return limit is not None and now - job.started > limit.total_seconds()
