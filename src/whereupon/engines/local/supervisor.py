"""The parent of local workers: beats for them, sees them die, takes back what they held, and purges.

It runs no handler, so nothing can keep it from its beat. It starts its workers afresh (not by fork) and
waits for them, which is how it learns at once that one has stopped or died.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import signal
import socket
import sys
import time
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Final

from whereupon.deliveries import CRASHES
from whereupon.engines.local.process import BROKEN, HANDED_BACK, UNREACHABLE, Settings
from whereupon.engines.processes import dead, describe_process, new_worker_id, running_here
from whereupon.errors import WhereuponError, WorkerFailed
from whereupon.ledger import claims, reports, rescue, upkeep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import FrameType

    from whereupon.ledger_protocol import Transaction
    from whereupon.store import EventStore

BEAT: Final = 2.0
"""Seconds between two beats for a running worker."""
SWEEP: Final = 1.0
"""Seconds between two looks for workers that are gone."""
PURGE: Final = 60.0
"""Seconds between two purges, and between two reports of what waits for code."""
_FAST: Final = 2.0  # a process that lived for less than this many seconds has not really started
_FAST_DEATHS: Final = 5
_RETRY: Final = 1.0  # seconds until a process is started again that could not reach the ledger
_KILL: Final = 5.0  # seconds that a process gets above its grace

_log = logging.getLogger("whereupon.supervisor")


@dataclass(slots=True, eq=False)
class Child:
    """A worker process that this supervisor started.

    It is admitted once the ledger knows it, and ended once the supervisor has killed it. `started` is
    monotonic.
    """

    settings: Settings
    pid: int
    pipe: socket.socket
    started: float = field(default_factory=time.monotonic)
    is_admitted: bool = False
    is_ready: bool = False
    is_draining: bool = False
    is_stopped: bool = False
    is_ended: bool = False


class Supervisor:
    """Runs `count` worker processes of one store until it is told to stop."""

    def __init__(
        self,
        store: EventStore,
        store_name: str,
        settings: Settings,
        count: int,
        level: str = "info",
    ) -> None:
        self._store = store
        self._store_name = store_name
        self._settings = settings
        self._count = count
        self._level = level
        self._children: dict[int, Child] = {}
        self._signals = 0
        self._stopped_at: float | None = None
        self._fast_deaths = 0
        self._start_from = 0.0
        self._last: dict[str, float] = {}
        self._told: set[str] = set()
        self._beaten_at: int | None = None
        self._spare_until = 0.0
        self._wakeup, self._wakeup_end = socket.socketpair()

    def run(self) -> int:
        """Supervise until a signal; return the exit status. Raises `WorkerFailed`."""
        self._listen()
        try:
            while True:
                self._keep_up()
                self._reap()
                if self._stopped_at is not None and not self._children:
                    return 0
                self._admit()
                self._each(BEAT, self._beat)
                self._each(SWEEP, self._sweep)
                self._each(PURGE, self._maintain)
                self._kill_late()
                self._wait()
        finally:
            for child in self._children.values():
                os.kill(child.pid, signal.SIGKILL)

    def _listen(self) -> None:
        self._wakeup_end.setblocking(False)  # noqa: FBT003
        signal.set_wakeup_fd(self._wakeup_end.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self._signals += 1
        self._stopped_at = self._stopped_at or time.monotonic()
        for child in self._children.values():
            os.kill(child.pid, signal.SIGTERM)

    def _each(self, period: float, task: Callable[[], None]) -> None:
        """Run a task once in a period; trouble with the ledger is logged once and tried again."""
        name = task.__name__
        now = time.monotonic()
        if now - self._last.get(name, -period) < period:
            return
        self._last[name] = now
        try:
            task()
            self._told.discard(name)
        except WhereuponError as error:
            if name not in self._told:
                _log.error("%s", error)
            self._told.add(name)

    def _keep_up(self) -> None:
        """Start processes until there are enough that take new work."""
        if self._stopped_at is not None or time.monotonic() < self._start_from:
            return
        working = [
            each for each in self._children.values() if not each.is_draining and not each.settings.alone
        ]
        for _ in range(self._count - len(working)):
            self._start(self._settings)

    def _start(self, settings: Settings) -> None:
        settings = replace(settings, worker=new_worker_id())
        ours, theirs = socket.socketpair()
        os.set_inheritable(theirs.fileno(), True)  # noqa: FBT003
        arguments = [
            sys.executable, "-m", "whereupon.engines.local.process",
            self._store_name, json.dumps(asdict(settings)), str(theirs.fileno()), self._level,
        ]  # fmt: skip
        pid = os.posix_spawn(sys.executable, arguments, os.environ, setpgroup=0)
        theirs.close()
        ours.setblocking(False)  # noqa: FBT003
        self._children[pid] = Child(settings, pid, ours)

    def _admit(self) -> None:
        """Make new children known to the ledger, and let them begin."""
        if any(not child.is_admitted for child in self._children.values()):
            self._each(0.2, self._register)

    def _register(self) -> None:
        for child in [each for each in self._children.values() if not each.is_admitted]:
            process = describe_process(child.settings.worker, child.pid, "local")
            with self._store.ledger.transaction() as transaction:
                rescue.register(transaction, process)
            child.is_admitted = True
            with contextlib.suppress(OSError):
                child.pipe.send(b"go\n")

    def _reap(self) -> None:
        """Take note of every child that has died, stopped or gone on."""
        while self._children:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child = self._children.get(pid)
            if child is None:
                continue
            if os.WIFSTOPPED(status) or os.WIFCONTINUED(status):
                child.is_stopped = os.WIFSTOPPED(status)
                _log.warning("worker %d %s", pid, "is stopped" if child.is_stopped else "goes on")
                continue
            self._bury(child, os.waitstatus_to_exitcode(status))

    def _bury(self, child: Child, code: int) -> None:
        del self._children[child.pid]
        child.pipe.close()
        on_purpose = child.is_ended or code in (0, HANDED_BACK, UNREACHABLE)
        if code == UNREACHABLE:
            self._start_from = time.monotonic() + _RETRY
        blame = not on_purpose and code != BROKEN
        try:
            with self._store.ledger.transaction() as transaction:
                rescued = rescue.rescue(transaction, child.settings.worker, blame=blame)
        except WhereuponError as error:
            _log.error("%s", error)  # the sweep finds it again
            return
        if not on_purpose:
            _report_death(child, code, rescued)
            self._count_fast_death(child, code)

    def _count_fast_death(self, child: Child, code: int) -> None:
        lived = time.monotonic() - child.started
        is_fast = lived < _FAST and (not child.is_ready or code == BROKEN)
        self._fast_deaths = self._fast_deaths + 1 if is_fast else 0
        at_once = code == BROKEN and not child.is_ready
        if self._fast_deaths and (at_once or self._fast_deaths >= _FAST_DEATHS):
            raise WorkerFailed(
                f"a worker process ended with status {code} as soon as it had started, "
                f"{self._fast_deaths} times in a row",
                fix="see what it logged above; the store must be importable in a fresh process",
            )

    def _beat(self) -> None:
        """Renew the leases of the children that run, and end those whose lease is lost.

        After a time in which this supervisor could not beat, its peers could not either, perhaps: the disk
        was slow, the server away, the machine suspended, the clock set. They get a lease to make up for it.
        """
        running = {
            each.settings.worker: each
            for each in self._children.values()
            if each.is_admitted and not each.is_stopped
        }
        with self._store.ledger.transaction() as transaction:
            known = rescue.beat(transaction, [*running, *self._of_engine(transaction)])
            now = transaction.now()
        if self._beaten_at is not None and now - self._beaten_at > rescue.LEASE / 2:
            self._spare_until = time.monotonic() + rescue.LEASE / 1000
        self._beaten_at = now
        for worker in running.keys() - known:
            child = running[worker]
            _log.error("worker %d has lost its lease and is started anew", child.pid)
            self._end(child)

    def _of_engine(self, transaction: Transaction) -> list[str]:
        """Return the workers of the store's engine on this machine: nothing else beats for them."""
        engine = self._store.engine
        if engine is None:
            return []
        known = [each for each in rescue.processes(transaction) if each.kind == engine.kind]
        return [each.id for each in running_here(known)]

    def _end(self, child: Child) -> None:
        child.is_ended = True
        os.kill(child.pid, signal.SIGKILL)

    def _sweep(self) -> None:
        """Take back what workers held that are gone, and try what is on its last chance."""
        with self._store.ledger.reading() as transaction:
            lapsed = rescue.lapsed(transaction)
            gone = [each.id for each in dead(rescue.processes(transaction))]
            ids = [identity for each in self._store.routes for identity in each.ids]
            suspect = claims.next_suspect(transaction, ids, alone=True)
            now = transaction.now()
        self._take_back(gone, rescue.rescue)
        if self._may_judge(now):
            self._take_back([each for each in lapsed if each not in gone], rescue.rescue_lapsed)
        is_alone = any(each.settings.alone for each in self._children.values())
        if suspect is not None and suspect <= now and not is_alone and self._stopped_at is None:
            self._start(replace(self._settings, alone=True))

    def _may_judge(self, now: int) -> bool:
        """Tell whether it says something of the others that they have not beaten for a lease."""
        has_beaten = self._beaten_at is not None and now - self._beaten_at <= rescue.LEASE / 2
        return has_beaten and time.monotonic() >= self._spare_until

    def _take_back(
        self, workers: Iterable[str], rescue_one: Callable[[Transaction, str], rescue.Rescued | None]
    ) -> None:
        own = {each.settings.worker for each in self._children.values() if not each.is_stopped}
        for worker in workers:
            if worker not in own:
                with self._store.ledger.transaction() as transaction:
                    rescued = rescue_one(transaction, worker)
                if rescued is not None:
                    _log.warning("took back %d deliveries from worker %s", rescued.returned, worker)

    def _maintain(self) -> None:
        """Purge what retention lets go, a page at a time, and report what waits for code."""
        while self._stopped_at is None:
            with self._store.ledger.transaction() as transaction:
                deleted = upkeep.purge(transaction, self._store.retention)
            if deleted < upkeep.PAGE:
                break
        known = [identity for each in self._store.routes for identity in each.ids]
        with self._store.ledger.reading() as transaction:
            waiting = reports.waiting_for_code(transaction, known)
        for subscription, count in waiting.items():
            _log.warning("%d deliveries of %s wait for code that knows it", count, subscription)

    def _kill_late(self) -> None:
        if self._stopped_at is None:
            return
        limit = 0.5 if self._signals > 1 else self._settings.grace + _KILL
        if time.monotonic() - self._stopped_at > limit:
            for child in self._children.values():
                self._end(child)

    def _wait(self) -> None:
        """Sleep until a signal, a word from a child, or the next task."""
        pipes = {each.pipe: each for each in self._children.values()}
        readable, _, _ = select.select([self._wakeup, *pipes], [], [], 0.2 if self._stopped_at else SWEEP / 2)
        for ready in readable:
            try:
                words = ready.recv(4096)
            except OSError:
                words = b""
            child = pipes.get(ready)
            if child is None:
                continue
            if not words:
                time.sleep(0.001)  # it is about to die; its end is seen by _reap
            child.is_ready = child.is_ready or b"ready" in words
            child.is_draining = child.is_draining or b"draining" in words


def _report_death(child: Child, code: int, rescued: rescue.Rescued) -> None:
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
    _log.error("worker %d %s; %d deliveries go back", child.pid, how, rescued.returned)
    for delivery in rescued.parked:
        _log.error("delivery %d is parked: it was in hand at %d deaths", delivery, CRASHES)
