"""What one process of an engine holds in the ledger: what it has claimed, and what it has finished."""

from __future__ import annotations

import logging
import os
import threading
import time
from traceback import clear_frames
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from whereupon.deliveries import Done
from whereupon.engines.processes import describe_process, new_worker_id
from whereupon.errors import LedgerBusy, LedgerUnavailable, WhereuponError
from whereupon.ledger import claims, rescue
from whereupon.ledger.exchange import exchange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from whereupon.deliveries import Claim, Close
    from whereupon.ledger_protocol import Connection
    from whereupon.store import EventStore

SOON: Final = 0.02
"""Seconds that a finished delivery waits for the next claim, to share its commit, while jobs come so fast."""
_PATIENCE: Final = 1.0  # seconds between two tries while the ledger cannot be reached
_AT_END: Final = 3.0  # seconds that the end of the process waits for the ledger

_T = TypeVar("_T")
_log = logging.getLogger("whereupon.worker")


class _Finished(NamedTuple):
    """A close that is to be written, and until when (monotonic) the next claim may take it along."""

    close: Close
    until: float


class Holding:
    """The claims of this process, which is one worker in the ledger from its first claim on.

    While jobs follow each other closely, what is done is written together with the next claim; otherwise a
    thread writes it at once. So a thread that handles has one call at most whose end is not written. It stays
    noted until its commit has been heard, as writing it twice does no harm. An engine may raise anywhere:
    what was interrupted is in doubt, and is given back. All threads share one connection. Not for use behind
    a fork.
    """

    def __init__(self, store: EventStore, kind: str) -> None:
        self._store = store
        self._kind = kind
        self._lock = threading.RLock()
        self._connection: Connection | None = None
        self._worker: str | None = None
        self._in_hand: set[int] = set()
        self._finished: dict[tuple[int, int], _Finished] = {}
        self._finished_at = 0.0
        self._is_busy = False
        self._doubted_at: float | None = None
        self._thread: threading.Thread | None = None
        self._is_wanted = threading.Event()
        self._is_ended = threading.Event()

    def claim(self, deliveries: Sequence[int], subscriptions: Sequence[str], jobs: list[list[Claim]]) -> None:
        """Claim what an engine names, into a list that whoever is interrupted can look at.

        While the ledger cannot be reached this waits, as there is nothing that the process could do.
        """
        self._is_busy = time.monotonic() - self._finished_at < SOON
        with self._lock:
            self._start_thread()
            try:
                jobs += self._patiently(lambda found: self._exchange(found, deliveries, subscriptions))
                self._in_hand.update(each.delivery for job in jobs for each in job)
            except BaseException as error:
                clear_frames(error.__traceback__)  # where an open cursor would keep its lock on SQLite
                self._disconnect()
                self._doubt()
                self._patiently(lambda found: self._exchange(found, [], []))
                self._doubt()  # the server may still be at what was interrupted
                raise

    def close(self, closes: Iterable[Close]) -> None:
        """Close claims: what is done soon, whatever else at once."""
        at_once: list[Close] = []
        self._finished_at = time.monotonic()
        until = self._finished_at + (SOON if self._is_busy else 0)
        for each in closes:
            if isinstance(each.result, Done):
                self._finished[each.claim.delivery, each.claim.token] = _Finished(each, until)
            else:
                at_once.append(each)
        if not self._is_wanted.is_set():
            self._is_wanted.set()
        if at_once:
            with self._lock:
                self._patiently(lambda found: self._write(found, at_once))

    def let_go(self, claimed: Iterable[Claim]) -> None:
        """Forget claims, but for those whose close is still to be written."""
        self._in_hand.difference_update(
            each.delivery for each in claimed if (each.delivery, each.token) not in self._finished
        )

    def end(self) -> None:
        """Write what is finished, and give the rest back without blame, as this process ends."""
        if self._worker is None or not self._lock.acquire(timeout=_AT_END):
            return
        try:
            self._is_ended.set()
            self._is_wanted.set()
            deadline = time.monotonic() + _AT_END
            while not self._said_goodbye() and time.monotonic() < deadline:
                time.sleep(_AT_END / 10)
            self._worker = None
            self._disconnect()
        finally:
            self._lock.release()
        if self._thread is not None:
            self._thread.join(_AT_END)

    def _said_goodbye(self) -> bool:
        try:
            connection = self._connected()
            self._exchange(connection, [], [])
            if self._worker is not None:
                with connection.transaction() as transaction:
                    rescue.rescue(transaction, self._worker, blame=False)
        except WhereuponError:
            self._disconnect()
            return False
        return True

    def _exchange(
        self, connection: Connection, deliveries: Sequence[int], subscriptions: Sequence[str]
    ) -> list[list[Claim]]:
        closes = self._closes()
        if self._worker is None or self._doubted_at is not None:
            jobs, lost = self._start_over(connection, closes, deliveries, subscriptions)
        else:
            with connection.single() as transaction:
                found = exchange(transaction, self._worker, closes, deliveries, subscriptions)
            jobs, lost = found.jobs, found.lost
            if not found.is_known:
                self._worker = None
        _report(lost)
        self._forget(closes)
        if self._worker is None:
            return self._exchange(connection, deliveries, subscriptions)
        return jobs

    def _start_over(
        self,
        connection: Connection,
        closes: list[Close],
        deliveries: Sequence[int],
        subscriptions: Sequence[str],
    ) -> tuple[list[list[Claim]], list[Close]]:
        """Do the same step by step, as a worker that has to make itself known, or may hold what it forgot."""
        with connection.transaction() as transaction:
            worker = self._worker
            if worker is None or rescue.lease(transaction, worker) is None:
                worker = new_worker_id()
                rescue.register(transaction, describe_process(worker, os.getpid(), self._kind))
            lost = claims.close(transaction, closes)
            claims.release_others(transaction, worker, sorted(self._in_hand))
            jobs = claims.claim_woken(transaction, worker, deliveries, subscriptions)
            self._worker = worker
        self._doubted_at = None
        return jobs, lost

    def _write(self, connection: Connection, closes: Sequence[Close]) -> None:
        with connection.transaction() as transaction:
            lost = claims.close(transaction, closes)
        _report(lost)

    def _closes(self) -> list[Close]:
        return [each.close for each in list(self._finished.values())]

    def _forget(self, closes: Iterable[Close]) -> None:
        for each in closes:
            self._in_hand.discard(each.claim.delivery)
            self._finished.pop((each.claim.delivery, each.claim.token), None)

    def _doubt(self) -> None:
        """Note that this process may hold what it does not know of."""
        self._doubted_at = time.monotonic()
        self._is_wanted.set()

    def _patiently(self, work: Callable[[Connection], _T]) -> _T:
        """Do something with the ledger, however long it takes until that is there."""
        told = ""
        while True:
            try:
                return work(self._connected())
            except (LedgerBusy, LedgerUnavailable) as error:
                told = self._failed(error, told)
            time.sleep(_PATIENCE)

    def _failed(self, error: LedgerBusy | LedgerUnavailable, told: str) -> str:
        if isinstance(error, LedgerUnavailable) and not error.retry_is_safe:
            self._doubt()
        if str(error) != told:
            _log.error("%s", error)
        self._disconnect()
        return str(error)

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = self._store.ledger.connect()
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _start_thread(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._is_ended.clear()
            self._thread = threading.Thread(target=self._run, name="whereupon-closes", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        """Write what is finished and no claim has taken along, and clear up what is in doubt."""
        told = ""
        while self._is_wanted.wait() and not self._is_ended.is_set():
            self._is_wanted.clear()
            while (seconds := self._due_in()) is not None and not self._is_ended.is_set():
                if seconds > 0:
                    self._is_ended.wait(seconds)
                else:
                    told = self._write_alone(told)
                    if told:
                        self._is_ended.wait(_PATIENCE)

    def _write_alone(self, told: str) -> str:
        """Do the part of an exchange that is no claim, once; return what was wrong, empty if nothing was."""
        with self._lock:
            seconds = self._due_in()
            if seconds is None or seconds > 0 or self._is_ended.is_set():  # somebody else has done it
                return ""
            try:
                self._exchange(self._connected(), [], [])
            except (LedgerBusy, LedgerUnavailable) as error:
                return self._failed(error, told)
            except Exception as error:  # noqa: BLE001 - the thread goes on
                _log.exception("finished deliveries could not be closed")
                self._disconnect()
                return str(error)
            return ""

    def _due_in(self) -> float | None:
        """Return in how many seconds there is something to write; None where there is nothing."""
        moments = [each.until for each in list(self._finished.values())[:1]]
        if self._doubted_at is not None:
            moments.append(self._doubted_at + _PATIENCE)
        return min(moments) - time.monotonic() if moments else None


def _report(lost: Iterable[Close]) -> None:
    for each in lost:
        _log.error("%s lost its claim on event %s", each.claim.subscription, each.claim.event_id)
