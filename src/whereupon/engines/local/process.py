"""One local worker process: claims, hands to the executor, closes; nothing else runs in its main thread.

It is started by the supervisor, which beats for it. The closes of what has finished and the next claim
share one transaction, so a close never waits for a fuller batch than the commit before it made.
"""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import socket
import sys
import threading
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from whereupon.deliveries import Claim, Close, Released
from whereupon.engines.local.executor import Executor, Finished, Job
from whereupon.engines.local.pace import Pace
from whereupon.errors import LedgerBusy, LedgerUnavailable, LostClaim, WhereuponError
from whereupon.handling import overrun, overrun_text, prepare
from whereupon.ledger import claims, due, rescue

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from whereupon.ledger_protocol import Transaction
    from whereupon.store import EventStore

HANDED_BACK: Final = 75
"""The exit status of a process that ends on purpose with handlers still running: nobody is to blame."""
BROKEN: Final = 70
"""The exit status of a process whose main loop failed, which no handler can bring about."""
UNREACHABLE: Final = 69
"""The exit status of a process that could not reach the ledger when it started."""
POLL: Final = 0.002
"""How often a worker looks whether the file has changed, in seconds; it costs a few microseconds."""
IDLE_POLL: Final = 0.01
"""How often it looks when it has claimed nothing for a second."""
_ACTIVE: Final = 1.0
_FULL: Final = 0.02  # seconds until it looks again at what is due and could not be started
_UNSTARTED: Final = 1.0  # seconds after which claims that could not be started are given back
_PATIENCE: Final = 1.0  # seconds between two tries while the ledger cannot be reached
_ORPHAN_GRACE: Final = 3.0  # seconds, below the lease, that a process without its supervisor goes on
_LOCK_PATIENCE: Final = timedelta(seconds=0.1)  # an atomic handler holds the lock; its limit must be watched

_log = logging.getLogger("whereupon.worker")


@dataclass(frozen=True, slots=True)
class Settings:
    """How one process works: `grace` is how many seconds running handlers get when it stops.

    `alone` is for deliveries on their last chance: one at a time, and the process ends when there is none.
    """

    worker: str
    threads: int = 10
    coroutines: int = 100
    queues: tuple[str, ...] = ()
    grace: float = 25.0
    alone: bool = False


class LocalProcess:
    """The main loop of a worker process. `parent` is the socket whose other end the supervisor holds."""

    def __init__(self, store: EventStore, settings: Settings, parent: socket.socket) -> None:
        self._store = store
        self._settings = settings
        self._parent = parent
        queues = settings.queues
        self._subscriptions = [
            each for each in store.routes if not queues or each.subscriber.options.queue in queues
        ]
        self._ids = [identity for each in self._subscriptions for identity in each.ids]
        self._wake = threading.Event()
        threads = 1 if settings.alone else settings.threads
        coroutines = 1 if settings.alone else settings.coroutines
        self._executor = Executor(store, threads, coroutines, self._rouse)
        self._pace = Pace(self._subscriptions, self._executor, threads)
        self._floors = due.Floors() if store.ledger.dialect.name == "postgresql" else None
        self._connection = store.ledger.connect(_LOCK_PATIENCE)
        self._closes: list[Close] = []
        self._overruns: list[tuple[Claim, str]] = []
        self._signals = 0
        self._retiring = False
        self._suspect: Claim | None = None
        self._next_due = 0.0
        self._active_until = 0.0
        self._is_in_doubt = False

    def run(self) -> int:
        """Work until told to stop or the supervisor is gone; return the exit status."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        self._tell("ready")
        if not self._settings.alone:
            queues = ", ".join(sorted({each.subscriber.options.queue for each in self._subscriptions}))
            _log.info(
                "worker %d is ready: %d subscriptions, queues %s, %d threads",
                os.getpid(), len(self._subscriptions), queues or "none", self._settings.threads,
            )  # fmt: skip
        try:
            self._await_admission()
            while not self._stopping():
                if not self._turn() and self._settings.alone:
                    return self._stop()
            return self._stop()
        except LostClaim as error:
            _log.error("%s", error)
            return HANDED_BACK

    def _await_admission(self) -> None:
        """Claim nothing before the supervisor has made this worker known to the ledger."""
        while not self._signals:
            readable, _, _ = select.select([self._parent], [], [], 0.1)
            if readable:
                self._parent.recv(64)
                return

    def _rouse(self) -> None:
        """Wake the main loop; asking first is cheaper than setting what is set."""
        if not self._wake.is_set():
            self._wake.set()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self._signals += 1
        self._wake.set()

    def _stopping(self) -> bool:
        return self._signals > 0 or self._orphaned()

    def _orphaned(self) -> bool:
        """Tell whether the supervisor is gone: nobody beats for us any more."""
        try:
            return self._parent.recv(64, socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _tell(self, word: str) -> None:
        try:
            self._parent.send(word.encode() + b"\n")
        except OSError:
            _log.debug("the supervisor is gone")

    def _turn(self) -> bool:
        """Do what there is to do, or wait a moment; tell whether an `alone` process has more to do."""
        self._wake.clear()
        if self._executor.is_busy():
            self._collect(self._executor.finished())
            self._watch_limits()
            self._withdraw(_UNSTARTED)
        if self._closes or self._overruns or self._may_claim():
            self._exchange()
            return True
        self._wait()
        return not self._settings.alone or self._suspect is not None

    def _wait(self) -> None:
        """Sleep until a handler has ended, or until it is time to look at the file again."""
        if self._executor.is_busy():
            self._wake.wait(POLL)
        else:
            self._connection.wait(POLL if time.monotonic() < self._active_until else IDLE_POLL)

    def _collect(self, finished: list[Finished]) -> None:
        if not finished:
            return
        self._next_due = 0.0  # there is room again
        self._pace.ended(finished)
        for each in finished:
            self._closes += each.closes
            if self._suspect is not None and any(
                prepared.claim is self._suspect for prepared in each.call.prepared
            ):
                self._suspect = None

    def _may_claim(self) -> bool:
        """Look, without locking anything, whether there could be something to claim."""
        if self._is_in_doubt:
            return True
        if self._floors is not None:
            self._floors.renew()
        if self._retiring or (self._settings.alone and self._suspect is not None):
            return False
        now = time.monotonic()
        if not self._connection.changed() and now < self._next_due:
            return False
        wanted, budget = self._pace.demand()
        if not budget.most:
            return False
        try:
            with self._connection.reading() as transaction:
                self._next_due = self._due_from(transaction, wanted)
        except WhereuponError:
            return True  # _exchange meets the same trouble, and reports it
        return self._next_due <= now

    def _due_from(self, transaction: Transaction, wanted: Sequence[claims.Wanted]) -> float:
        """Return when the next delivery is due that could be started; a second from now at the latest.

        The database tells how long that is from its own clock; the moment is one of the monotonic clock.
        """
        moments: list[int | None] = []
        if not self._settings.alone:
            ids = [identity for each in wanted for identity in each.ids]
            moments.append(due.next_due(transaction, ids, self._floors))
        if self._suspect is None:
            moments.append(claims.next_suspect(transaction, self._ids, alone=self._settings.alone))
        now = transaction.now()
        return time.monotonic() + min(
            [1.0, *((moment - now) / 1000 for moment in moments if moment is not None)]
        )

    def _exchange(self) -> None:
        """Close what has finished and claim what can be started, in one transaction."""
        closes, self._closes = self._closes, []
        overruns, self._overruns = self._overruns, []
        try:
            with self._connection.transaction() as transaction:
                may_claim = self._holds_lease(transaction)
                if self._is_in_doubt:
                    claims.release_others(transaction, self._settings.worker, self._in_hand(closes, overruns))
                for claim, text in overruns:
                    claims.mark_overrunning(transaction, claim, text)
                lost = claims.close(transaction, closes)
                jobs = self._claim(transaction) if may_claim else []
            # nothing that is due can be started now: look again soon, or when a handler has ended
            self._next_due = 0.0 if jobs else time.monotonic() + _FULL
        except LostClaim:
            raise
        except WhereuponError as error:
            self._closes = [*closes, *self._closes]
            self._overruns = [*overruns, *self._overruns]
            # what was claimed may be there all the same, and nobody has heard of it
            self._is_in_doubt |= isinstance(error, LedgerUnavailable) and not error.retry_is_safe
            self._recover(error)
            return
        self._is_in_doubt = False
        for close in lost:
            _log.error("%s lost its claim on event %s", close.claim.subscription, close.claim.event_id)
        self._start(jobs)

    def _in_hand(self, closes: list[Close], overruns: list[tuple[Claim, str]]) -> list[int]:
        known = [*self._executor.claims(), *(each.claim for each in closes), *(each for each, _ in overruns)]
        return [each.delivery for each in known]

    def _holds_lease(self, transaction: Transaction) -> bool:
        """Tell whether this process may claim. Raises `LostClaim` when it may not even close."""
        lease = rescue.lease(transaction, self._settings.worker)
        if lease is None:
            raise LostClaim(
                "this worker has lost its lease, and closes nothing",
                fix="nothing: what it held was given to others; its supervisor starts it anew",
            )
        return lease > transaction.now() and not self._retiring and not self._stopping()

    def _claim(self, transaction: Transaction) -> list[list[Claim]]:
        worker = self._settings.worker
        jobs = []
        if not self._settings.alone:
            jobs = claims.claim(transaction, worker, *self._pace.demand(), self._floors)
        if self._suspect is None:
            suspect = claims.claim_suspect(transaction, worker, self._ids, alone=self._settings.alone)
            if suspect:
                self._suspect = suspect[0]
                jobs.append(suspect)
        return jobs

    def _start(self, jobs: list[list[Claim]]) -> None:
        if jobs:
            self._active_until = time.monotonic() + _ACTIVE
        for claimed in jobs:
            calls, closes = prepare(self._store, claimed)
            self._closes += closes
            if self._suspect is not None and any(each.claim is self._suspect for each in closes):
                self._suspect = None
            if calls:
                self._pace.took(calls)
                self._executor.submit(Job(calls[0].subscription, calls))

    def _recover(self, error: WhereuponError) -> None:
        """Wait and open the file anew: after a failed flush a handle must not be trusted."""
        if isinstance(error, LedgerBusy):
            return
        _log.error("%s", error)
        time.sleep(_PATIENCE)
        self._connection.close()
        try:
            self._connection = self._store.ledger.connect(_LOCK_PATIENCE)
        except WhereuponError as again:
            _log.error("%s", again)

    def _watch_limits(self) -> None:
        """Deal with handlers in threads that are over their time limit."""
        overrunning = self._executor.overrunning()
        for job in overrunning:
            call = self._executor.note_overrun(job)
            if call is None:
                continue
            _log.error("%s is overrunning: %s", call.subscription.id, overrun_text(call))
            self._overruns += [(each.claim, overrun_text(call)) for each in call.prepared]
        if overrunning and not self._retiring:
            self._retiring = True
            self._tell("draining")
            self._withdraw()
        if self._retiring and self._executor.running() == 0 and not self._closes and not self._overruns:
            self._replace(overrunning)

    def _replace(self, overrunning: list[Job]) -> None:
        """End the process, as a thread cannot be ended: everything else in it has finished."""
        for job in overrunning:
            for call in list(job.calls):
                is_counted = call in job.overran
                self._closes += [
                    Close(each.claim, overrun(call, each.claim) if is_counted else Released())
                    for each in call.prepared
                ]
        self._settle()
        logging.shutdown()
        os._exit(HANDED_BACK)

    def _withdraw(self, waited: float = 0.0) -> None:
        for claim in self._executor.withdraw(waited):
            self._pace.withdrew(self._store.routes.by_id[claim.subscription])
            self._closes.append(Close(claim, Released()))
            if claim is self._suspect:
                self._suspect = None

    def _stop(self) -> int:
        """Let running handlers finish within the grace, then hand back; a second signal ends it at once."""
        grace = min(self._settings.grace, _ORPHAN_GRACE) if self._orphaned() else self._settings.grace
        deadline = time.monotonic() + grace
        self._retiring = True
        self._withdraw()
        while self._signals < 2 and time.monotonic() < deadline:
            self._wake.clear()
            self._collect(self._executor.finished())
            if self._closes:
                self._exchange()
            if self._executor.running() == 0:
                break
            self._wake.wait(0.05)
        return self._hand_back()

    def _settle(self) -> None:
        """Write what has finished, before the process ends; a lock is waited for a moment."""
        deadline = time.monotonic() + _PATIENCE
        while (self._closes or self._overruns) and time.monotonic() < deadline:
            self._exchange()

    def _hand_back(self) -> int:
        self._executor.cancel_coroutines()
        time.sleep(0.01 if self._executor.running() else 0)
        self._collect(self._executor.finished())
        self._settle()
        is_idle = self._executor.running() == 0 and not self._executor.overrunning()
        if is_idle or self._orphaned():
            with self._connection.transaction() as transaction:
                rescue.rescue(transaction, self._settings.worker, blame=False)
        return 0 if is_idle else HANDED_BACK


def main(arguments: list[str]) -> int:
    """Start a worker process for a supervisor: the store, the settings as JSON, and the socket's number."""
    from whereupon.loading import configure_logging, load_store

    store_name, settings_text, descriptor, level = arguments
    configure_logging(level)
    parent = socket.socket(fileno=int(descriptor))
    given = json.loads(settings_text)
    settings = Settings(**given | {"queues": tuple(given["queues"])})
    try:
        store = load_store(store_name)
        store.install()
        return LocalProcess(store, settings, parent).run()
    except (LedgerBusy, LedgerUnavailable) as error:
        _log.error("%s", error)
        return UNREACHABLE
    except WhereuponError as error:
        _log.error("%s", error)
    except Exception:  # noqa: BLE001 - the supervisor starts another one
        _log.exception("the worker's main loop failed; please report this")
    return BROKEN


if __name__ == "__main__":
    status = main(sys.argv[1:])
    logging.shutdown()
    os._exit(status)  # handlers that are still running must not keep the process
