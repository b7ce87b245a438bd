"""The worker's side of an engine: a job names deliveries, which are claimed, handled and closed here."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from typing import TYPE_CHECKING, Final, TypeVar

from whereupon.deliveries import Close, Released
from whereupon.engines.processes import describe_process, new_worker_id
from whereupon.engines.running import Runner
from whereupon.errors import LedgerBusy, LedgerUnavailable, WhereuponError
from whereupon.handling import prepare
from whereupon.ledger import claims, rescue

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from whereupon.deliveries import Claim
    from whereupon.ledger_protocol import Connection, Transaction
    from whereupon.store import EventStore
    from whereupon.subscriptions import Subscription

_PATIENCE: Final = 1.0  # seconds between two tries while the ledger cannot be reached

_T = TypeVar("_T")
_log = logging.getLogger("whereupon.worker")


class Deliverer:
    """Claims and handles what jobs name, on whatever thread they run, and behind a fork too.

    Each process is a worker of its own in the ledger, from its first job on. Somebody else beats for it.
    A time limit of the engine may raise anywhere, also outside the subscriber: nothing stays held by it.
    """

    def __init__(self, store: EventStore, kind: str) -> None:
        self._store = store
        self._kind = kind
        self._runner = Runner(store)
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._local = threading.local()
        self._worker: str | None = None
        self._in_hand: set[int] = set()
        self._in_doubt = False

    def deliver(self, deliveries: Sequence[int], subscriptions: Mapping[str, Subscription]) -> None:
        """Handle deliveries of these subscriptions, if nobody else has.

        While the ledger cannot be reached this waits, as there is nothing that the process could do. It waits
        too while as many of the subscriber are running in this process as `concurrency=` allows.
        """
        if self._pid != os.getpid():
            self._begin()
        with self._runner.turn(next(iter(subscriptions.values())).subscriber):
            self._deliver(deliveries, subscriptions)

    def _deliver(self, deliveries: Sequence[int], subscriptions: Mapping[str, Subscription]) -> None:
        with self._lock:
            try:
                jobs = self._patiently(
                    lambda transaction: self._claim(transaction, deliveries, list(subscriptions))
                )
            except BaseException:
                self._in_doubt = True
                self._patiently(lambda transaction: self._claim(transaction, [], []))
                raise
            self._in_hand.update(each.delivery for job in jobs for each in job)
            self._in_doubt = False
        for claimed in jobs:
            self._handle(claimed, subscriptions[claimed[0].subscription])

    def close(self) -> None:
        """Tell the ledger that this process ends, and give back what it holds without blame."""
        if self._pid != os.getpid() or self._worker is None:
            return
        with contextlib.suppress(WhereuponError), self._connection().transaction() as transaction:
            rescue.rescue(transaction, self._worker, blame=False)
        self._worker = None
        self._disconnect()

    def _claim(
        self, transaction: Transaction, deliveries: Sequence[int], known: Sequence[str]
    ) -> list[list[Claim]]:
        worker = self._registered(transaction)
        if self._in_doubt:
            claims.release_others(transaction, worker, sorted(self._in_hand))
        return claims.claim_woken(transaction, worker, deliveries, known)

    def _registered(self, transaction: Transaction) -> str:
        """Return the worker that this process is, made known to the ledger if it is not, or not any more."""
        if self._worker is None or rescue.lease(transaction, self._worker) is None:
            self._worker = new_worker_id()
            rescue.register(transaction, describe_process(self._worker, os.getpid(), self._kind))
        return self._worker

    def _handle(self, claimed: list[Claim], subscription: Subscription) -> None:
        closes: list[Close] = []
        try:
            calls, refused = prepare(self._store, claimed, subscription)
            closes += refused
            for call in calls:
                closes += self._runner.run(call)
            self._patiently(lambda transaction: self._close(transaction, closes))
        except BaseException:
            ended = {each.claim.delivery for each in closes}
            closes += [Close(each, Released()) for each in claimed if each.delivery not in ended]
            self._patiently(lambda transaction: self._close(transaction, closes))
            raise
        finally:
            self._in_hand.difference_update(each.delivery for each in claimed)

    def _close(self, transaction: Transaction, closes: list[Close]) -> None:
        for lost in claims.close(transaction, closes):
            _log.error("%s lost its claim on event %s", lost.claim.subscription, lost.claim.event_id)

    def _patiently(self, work: Callable[[Transaction], _T]) -> _T:
        """Do something in one transaction of the ledger, however long it takes until that is there."""
        told = ""
        while True:
            try:
                with self._connection().transaction() as transaction:
                    done = work(transaction)
            except (LedgerBusy, LedgerUnavailable) as error:
                self._in_doubt |= isinstance(error, LedgerUnavailable) and not error.retry_is_safe
                if str(error) != told:
                    told = str(error)
                    _log.error("%s", error)
                self._disconnect()
                time.sleep(_PATIENCE)
                continue
            return done

    def _disconnect(self) -> None:
        connection: Connection | None = getattr(self._local, "connection", None)
        self._local.connection = None
        if connection is not None:
            connection.close()

    def _connection(self) -> Connection:
        """Return the connection of this thread."""
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._store.ledger.connect()
        return connection
