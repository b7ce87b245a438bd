"""The relay: tells an engine of due deliveries, so that its workers claim them from the ledger.

A wake-up carries the id of a delivery and nothing else. Losing one costs time, and a second one is answered
from the ledger. So a broker may lose all it has.
"""

from __future__ import annotations

import logging
import random
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from whereupon.engine_protocol import WakeUp
from whereupon.errors import EngineUnavailable
from whereupon.ledger import rescue, wakeups
from whereupon.subscribers import PRIORITIES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from threading import Event as Flag

    from whereupon.engine_protocol import Engine
    from whereupon.ledger.wakeups import Due
    from whereupon.ledger_protocol import Connection
    from whereupon.store import EventStore

BOUND: Final = 1_000
"""How many wake-ups of one queue are outstanding at most."""
RESEND: Final = 30.0
"""After how many seconds without a claim the wake-ups of a queue are sent again; doubles each time."""
_SOONER: Final = 5.0  # the same while this relay has not seen a claim yet, and after a worker is gone
_LONGEST: Final = 3600.0
_OVERTAKEN: Final = 60_000  # milliseconds later sent and claimed already: the earlier one has been lost
_LOOK: Final = 1.0  # seconds between two looks at what is outstanding
_POLL: Final = 0.01
_PAUSES: Final = (1.0, 30.0)  # seconds between two tries while the broker is away, first and longest

_log = logging.getLogger("whereupon.relay")


@dataclass(slots=True)
class _Queue:
    """One queue of the engine: its subscriptions by priority, and what of it is outstanding."""

    name: str
    subscriptions: tuple[str, ...]
    outstanding: dict[int, int] = field(default_factory=dict)
    moved_at: float = field(default_factory=time.monotonic)
    patience: float = _SOONER
    latest_claimed: int = 0
    marked_at: int = 0
    worker_gone_at: int = 0

    def note_sent(self, due: Sequence[Due]) -> None:
        """Remember what was sent, as it may be claimed before the next look."""
        self.outstanding.update((delivery, self.marked_at) for unit in due for delivery in unit.stands_for)

    def doubtful(self, now: Mapping[int, int]) -> list[int]:
        """Compare with what is outstanding now, and return the deliveries whose wake-ups seem to be lost.

        Nobody has claimed anything for a while: all of them. Somebody has: those that were overtaken by far,
        or by anything sent after a worker was gone, which may have held them in its memory.
        """
        claimed = [sent for delivery, sent in self.outstanding.items() if delivery not in now]
        self.outstanding = dict(now)
        if claimed or not now:
            self.worker_gone_at = self.worker_gone_at if now else 0
            self.moved_at, self.patience = time.monotonic(), _SOONER if self.worker_gone_at else RESEND
            self.latest_claimed = max([self.latest_claimed, *claimed])
        elif time.monotonic() - self.moved_at >= self.patience:
            self.moved_at, self.patience = time.monotonic(), min(self.patience * 2, _LONGEST)
            self.worker_gone_at = 0
            return list(now)
        overtaken = self.latest_claimed - _OVERTAKEN
        if 0 < self.worker_gone_at < self.latest_claimed:
            overtaken, self.worker_gone_at = max(overtaken, self.worker_gone_at), 0
        return [delivery for delivery, sent in now.items() if sent <= overtaken]


class Relay:
    """Sends the wake-ups of one store to its engine. All methods are for one thread."""

    def __init__(self, store: EventStore, engine: Engine) -> None:
        self._store = store
        self._engine = engine
        ranked = sorted(store.routes, key=lambda each: PRIORITIES.index(each.subscriber.options.priority))
        queues: dict[str, list[str]] = defaultdict(list)
        for subscription in ranked:
            queues[subscription.subscriber.options.queue] += subscription.ids
        self._queues = [_Queue(name, tuple(ids)) for name, ids in queues.items()]
        self._workers: set[str] = set()
        self._looked_at = -_LOOK
        self._pause = 0.0
        self._next_try = 0.0
        self._told = ""

    def run(self, connection: Connection, ended: Flag) -> None:
        """Send what is due until `ended` is set. Raises `LedgerUnavailable` and the like."""
        while not ended.is_set():
            is_time = connection.changed() or time.monotonic() - self._looked_at >= _LOOK
            if not (is_time and self.turn(connection)):
                connection.wait(_POLL)

    def turn(self, connection: Connection) -> int:
        """Send what is due and not outstanding, within the bound; return how many wake-ups were sent."""
        is_look = time.monotonic() - self._looked_at >= _LOOK
        if is_look:
            self._looked_at = time.monotonic()
            if self._engine.features.fetches_ahead:
                self._look_for_workers(connection)
        sent = 0
        for queue in self._queues:
            if time.monotonic() < self._next_try:  # the broker is away, for all queues
                break
            sent += self._serve(connection, queue, is_look=is_look)
        return sent

    def _look_for_workers(self, connection: Connection) -> None:
        """Note when a worker is gone, with jobs that it had fetched and not begun."""
        with connection.reading() as transaction:
            known = rescue.processes(transaction)
            now = transaction.now()
        workers = {each.id for each in known if each.kind == self._engine.kind}
        if self._workers - workers:
            for queue in self._queues:
                queue.worker_gone_at, queue.patience = now, min(queue.patience, _SOONER)
        self._workers = workers

    def _serve(self, connection: Connection, queue: _Queue, *, is_look: bool) -> int:
        due = self._mark(connection, queue, is_look=is_look)
        if not due or not self._send(connection, queue, due):
            return 0
        queue.note_sent(due)
        return len(due)

    def _mark(self, connection: Connection, queue: _Queue, *, is_look: bool) -> list[Due]:
        """Choose what to send, within the bound, and note it in the ledger before it is sent.

        A relay that dies in between has told nobody, and the next one finds out as of a lost wake-up.
        """
        with connection.reading() as transaction:
            outstanding = wakeups.outstanding(transaction, queue.subscriptions)
            lost = queue.doubtful(outstanding) if is_look else []
            room = BOUND - len(outstanding) + len(lost)
            if not lost and (room <= 0 or not wakeups.is_any_unsent(transaction, queue.subscriptions)):
                return []
        with connection.transaction() as transaction:
            if lost:
                until = max(outstanding[each] for each in lost)
                if count := wakeups.forget(transaction, lost, until):  # or another relay has sent them again
                    text = "%d jobs of the queue %s seem to be lost and are sent again"
                    _log.warning(text, count, queue.name)
            wakeups.take_turns(transaction)
            room = BOUND - len(wakeups.outstanding(transaction, queue.subscriptions))
            due = wakeups.unsent(transaction, queue.subscriptions, room) if room > 0 else []
            queue.marked_at = wakeups.mark(transaction, due)
            return due

    def _send(self, connection: Connection, queue: _Queue, due: list[Due]) -> bool:
        routes = self._store.routes.by_id
        try:
            self._engine.enqueue(
                [WakeUp(each.delivery, routes[each.subscription].subscriber) for each in due]
            )
        except Exception as error:
            with connection.transaction() as transaction:
                wakeups.forget(transaction, [each for unit in due for each in unit.stands_for])
            if not isinstance(error, EngineUnavailable):
                raise
            if str(error) != self._told:
                self._told = str(error)
                _log.error("%s", error)
            first, longest = _PAUSES
            self._pause = min(max(first, self._pause * 2), longest)
            self._next_try = time.monotonic() + self._pause * random.uniform(0.5, 1)  # noqa: S311
            return False
        if self._told:
            _log.info("the queue %s takes jobs again", queue.name)
        self._told, self._pause = "", 0.0
        return True
