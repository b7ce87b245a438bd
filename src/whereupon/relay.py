"""The relay: tells an engine of due deliveries, so that its workers claim them from the ledger.

A wake-up carries the id of a delivery and nothing else. Losing one costs time, and a second one is answered
from the ledger. So a broker may lose all it has.
"""

from __future__ import annotations

import logging
import math
import random
import time
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple

from whereupon.engine_protocol import WakeUp
from whereupon.errors import EngineUnavailable, WhereuponError
from whereupon.ledger import rescue, wakeups
from whereupon.subscribers import PRIORITIES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from threading import Event as Flag

    from whereupon.engine_protocol import Engine
    from whereupon.ledger.wakeups import Due
    from whereupon.ledger_protocol import Connection, Transaction
    from whereupon.store import EventStore
    from whereupon.subscribers import Priority
    from whereupon.subscriptions import Subscription

BOUND: Final = 1_000
"""How many wake-ups of one queue are in the broker at most."""
RESEND: Final = 30.0
"""After how many seconds without a claim a relay asks whether the wake-ups of a queue are lost; doubles."""
_SOONER: Final = 5.0  # the same while this relay has not seen a claim yet, and after a worker is gone
_LONGEST: Final = 3600.0
_OVERTAKEN: Final = 10_000  # milliseconds later sent and claimed already: the earlier one has been lost
_LOOK: Final = 1.0  # seconds between two looks at what is outstanding
_POLL: Final = 0.01
_PAUSES: Final = (1.0, 30.0)  # seconds between two tries while the broker is away, first and longest
_SPARE: Final = 50  # one place in so many is kept for questions

_log = logging.getLogger("whereupon.relay")


@dataclass(slots=True)
class _Rank:
    """The subscriptions of one priority in a queue, whose jobs are begun in the order they were sent in.

    So a job that is claimed shows that those sent before it are begun, in a worker's hand, or lost. Where
    nothing is claimed at all, the last one is sent once more, and that is the question: if the jobs are still
    there, all of them are begun before it, and it changes nothing; if they are lost, it is begun next.
    """

    ids: tuple[str, ...]
    outstanding: dict[int, int] = field(default_factory=dict)
    moved_at: float = field(default_factory=time.monotonic)
    patience: float = _SOONER
    question: int = 0  # when this relay has asked
    asked_at: int = 0  # when any relay has
    worker_gone_at: int = 0

    def note_sent(self, due: Sequence[Due], at: int) -> None:
        """Remember what was sent, as it may be claimed before the next look."""
        own = [unit.stands_for for unit in due if unit.subscription in self.ids]
        self.outstanding.update(dict.fromkeys(chain.from_iterable(own), at))

    def note_asked(self, at: int) -> None:
        """Remember when a question was sent; the next one has to wait for longer."""
        self.asked_at, self.moved_at = at, time.monotonic()
        self.patience = min(max(RESEND, self.patience * 2), _LONGEST)

    def lost(self, transaction: Transaction, now: Mapping[int, int]) -> list[int]:
        """Compare with what is outstanding now, and return the deliveries whose wake-ups are lost."""
        gone = {delivery: sent for delivery, sent in self.outstanding.items() if delivery not in now}
        claimed = wakeups.claimed(transaction, gone)  # which another relay could not send is gone, too
        again = [sent for delivery, sent in now.items() if sent > self.outstanding.get(delivery, sent)]
        self.outstanding = dict(now)
        if again:
            self.note_asked(max(again))
        if now and not claimed:
            return []
        self.moved_at = time.monotonic()
        latest = max((gone[each] for each in claimed), default=0)
        before = self._overtaken(latest)
        if not now:
            self.worker_gone_at = 0
        if not now or self.asked_at <= latest:
            self.question = self.asked_at = 0
            self.patience = _SOONER if self.worker_gone_at else RESEND
        return [delivery for delivery, sent in now.items() if sent < before]

    def _overtaken(self, latest: int) -> int:
        """Return before when everything was sent that is overtaken by something claimed that was sent then.

        By far, by the question of this relay, or by anything sent after a worker was gone, which may have
        held jobs in its memory.
        """
        before = latest - _OVERTAKEN
        if 0 < self.question <= latest:
            before, self.question = max(before, self.question), 0
        if 0 < self.worker_gone_at < latest:
            before, self.worker_gone_at = max(before, self.worker_gone_at), 0
        return before

    def is_stuck(self, sent: Mapping[int, int], now: int) -> bool:
        """Tell whether nothing has been claimed, and by no relay anything sent, for too long."""
        if not sent or time.monotonic() - self.moved_at < self.patience:
            return False
        return abs(now - max(sent.values())) >= self.patience * 1000  # unless that clock was set back


@dataclass(slots=True)
class _Queue:
    """One queue of the engine: its subscriptions by priority, and whether it takes jobs."""

    name: str
    ranks: tuple[_Rank, ...]
    pause: float = 0.0
    next_try: float = 0.0
    told: str = ""

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of all its subscriptions, the highest priority first."""
        return tuple(chain.from_iterable(rank.ids for rank in self.ranks))

    def outstanding(self, transaction: Transaction) -> list[tuple[_Rank, dict[int, int]]]:
        """Return of each rank the deliveries of which the engine was told and that nobody has claimed."""
        return [(rank, wakeups.outstanding(transaction, rank.ids)) for rank in self.ranks]

    def failed(self) -> None:
        """Wait before the next try, longer each time."""
        first, longest = _PAUSES
        self.pause = min(max(first, self.pause * 2), longest)
        self.next_try = time.monotonic() + self.pause * random.uniform(0.5, 1)  # noqa: S311


class _Chosen(NamedTuple):
    """What is to be sent, the last one of which ranks once more, and when that was noted."""

    due: list[Due]
    asked: dict[tuple[str, ...], Due]
    at: int

    @property
    def everything(self) -> list[Due]:
        """All of it, in the order of sending."""
        return [*self.due, *self.asked.values()]


_NOTHING: Final = _Chosen([], {}, 0)


class Relay:
    """Sends the wake-ups of one store to its engine. All methods are for one thread."""

    def __init__(self, store: EventStore, engine: Engine) -> None:
        self._store = store
        self._engine = engine
        self._queues = _queues(store.routes)
        self._workers: set[str] = set()
        self._looked_at = -_LOOK

    def run(self, connection: Connection, ended: Flag) -> None:
        """Send what is due until `ended` is set. Raises `LedgerUnavailable` and the like."""
        while not ended.is_set():
            is_time = connection.changed() or time.monotonic() - self._looked_at >= _LOOK
            if not (is_time and self.turn(connection)):
                connection.wait(_POLL)

    def turn(self, connection: Connection) -> int:
        """Send what is due and not outstanding, within the bound; return how many wake-ups were sent.

        A queue that does not take them has a pause, and the others go on.
        """
        is_look = time.monotonic() - self._looked_at >= _LOOK
        if is_look:
            self._looked_at = time.monotonic()
            if self._engine.features.fetches_ahead:
                self._look_for_workers(connection)
        ready = (queue for queue in self._queues if time.monotonic() >= queue.next_try)
        return sum(self._serve(connection, queue, is_look=is_look) for queue in ready)

    def _look_for_workers(self, connection: Connection) -> None:
        """Note when a worker is gone, with jobs that it had fetched and not begun."""
        with connection.reading() as transaction:
            known = rescue.processes(transaction)
            now = transaction.now()
        workers = {each.id for each in known if each.kind == self._engine.kind}
        if self._workers - workers:
            for rank in chain.from_iterable(queue.ranks for queue in self._queues):
                rank.worker_gone_at, rank.patience = now, min(rank.patience, _SOONER)
        self._workers = workers

    def _serve(self, connection: Connection, queue: _Queue, *, is_look: bool) -> int:
        chosen = self._choose(connection, queue, is_look=is_look)
        if not chosen.everything:
            return 0
        sent = chosen.everything[: self._send(connection, queue, chosen)]
        for rank in queue.ranks:
            rank.note_sent(sent, chosen.at)
            if chosen.asked.get(rank.ids) in sent:
                rank.question = chosen.at
                rank.note_asked(chosen.at)
        return len(sent)

    def _choose(self, connection: Connection, queue: _Queue, *, is_look: bool) -> _Chosen:
        """Choose what to send, within the bound, and note it in the ledger before it is sent.

        A relay that dies in between has told nobody, and the next one finds out as of a lost wake-up.
        """
        with connection.reading() as transaction:
            found = queue.outstanding(transaction)
            looked = found if is_look else []
            lost = {each: sent[each] for rank, sent in looked for each in rank.lost(transaction, sent)}
            stuck = _stuck(looked, transaction.now()) if looked else []
            if not (lost or stuck or (_room(found) and wakeups.is_any_unsent(transaction, queue.ids))):
                return _NOTHING
        with connection.transaction() as transaction:
            if lost:
                self._forget(transaction, queue, lost)
            wakeups.take_turns(transaction)
            found = queue.outstanding(transaction)
            due = wakeups.unsent(transaction, queue.ids, _room(found))
            again = _stuck(found, transaction.now()) if stuck else []  # unless another relay was faster
            latest = ((rank.ids, wakeups.recall_latest(transaction, rank.ids)) for rank in again)
            asked = {ids: each for ids, each in latest if each}
            return _Chosen(due, asked, wakeups.mark(transaction, [*due, *asked.values()]))

    def _forget(self, transaction: Transaction, queue: _Queue, lost: Mapping[int, int]) -> None:
        count = wakeups.forget(transaction, list(lost), max(lost.values()))
        if count:  # or another relay was faster
            text = "%d jobs of the queue %s seem to be lost and are sent again"
            _log.warning(text, count, queue.name)

    def _send(self, connection: Connection, queue: _Queue, chosen: _Chosen) -> int:
        """Send, and return how many were taken. The others wait for the next try, but for questions."""
        routes = self._store.routes.by_id
        try:
            self._engine.enqueue(
                [WakeUp(each.delivery, routes[each.subscription].subscriber) for each in chosen.everything]
            )
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one queue, the others go on
            sent = error.sent if isinstance(error, EngineUnavailable) else 0
            with connection.transaction() as transaction:
                wakeups.forget(transaction, [each for unit in chosen.due[sent:] for each in unit.stands_for])
            self._report(queue, error)
            queue.failed()
            return sent
        if queue.told:
            _log.info("the queue %s takes jobs again", queue.name)
        queue.told, queue.pause = "", 0.0
        return len(chosen.everything)

    def _report(self, queue: _Queue, error: Exception) -> None:
        """Log what is wrong, once for all queues."""
        text = str(error)
        if text not in {each.told for each in self._queues}:
            is_ours = isinstance(error, WhereuponError)
            words = "%s" if is_ours else "the queue failed and is tried again; please report this: %s"
            _log.error(words, text, exc_info=None if is_ours else error)
        queue.told = text


def _queues(routes: Iterable[Subscription]) -> list[_Queue]:
    ids: dict[str, dict[Priority, list[str]]] = {}
    for each in routes:
        options = each.subscriber.options
        ranks = ids.setdefault(options.queue, {priority: [] for priority in PRIORITIES})
        ranks[options.priority] += each.ids
    return [
        _Queue(name, tuple(_Rank(tuple(each)) for each in ranks.values() if each))
        for name, ranks in ids.items()
    ]


def _room(found: Sequence[tuple[_Rank, Mapping[int, int]]]) -> int:
    """Return how many wake-ups may be sent, so that there is a place for questions yet."""
    return max(0, BOUND - math.ceil(BOUND / _SPARE) - sum(len(sent) for _, sent in found))


def _stuck(found: Iterable[tuple[_Rank, Mapping[int, int]]], now: int) -> list[_Rank]:
    return [rank for rank, sent in found if rank.is_stuck(sent, now)]
