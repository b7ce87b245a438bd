"""How much a worker may take in hand: no more than it can start within about 100 ms."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from whereupon.ledger.claims import Budget, Wanted
from whereupon.subscribers import PRIORITIES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from whereupon.engines.local.executor import Executor, Finished
    from whereupon.handling import Call
    from whereupon.subscriptions import Subscription

HORIZON: Final = 0.1
"""Within how many seconds a claimed delivery should start."""
MOST: Final = 500
"""How many calls a process holds at most, however short they are."""
AT_ONCE: Final = 100
"""How many jobs one transaction claims at most, so that its locks are short: a few milliseconds."""
_SMOOTHING: Final = 0.2
_SHORTEST: Final = 1e-5


class Pace:
    """Learns how long each subscriber takes, and says how many more of its jobs can be started soon."""

    def __init__(self, subscriptions: Iterable[Subscription], executor: Executor, threads: int) -> None:
        self._subscriptions = tuple(subscriptions)
        self._executor = executor
        self._threads = threads
        self._seconds: dict[Subscription, float] = {}
        self._in_hand: Counter[Subscription] = Counter()

    def took(self, calls: Iterable[Call]) -> None:
        """Note calls that were claimed."""
        self._in_hand.update(call.subscription for call in calls)

    def ended(self, finished: Iterable[Finished]) -> None:
        """Note calls that have ended, and how long they took."""
        for each in finished:
            subscription = each.call.subscription
            self._in_hand[subscription] -= 1
            known = self._seconds.get(subscription, each.seconds)
            self._seconds[subscription] = known + _SMOOTHING * (each.seconds - known)

    def withdrew(self, subscription: Subscription) -> None:
        """Note a call that was given back before it started."""
        self._in_hand[subscription] -= 1

    def demand(self) -> tuple[list[Wanted], Budget]:
        """Return what can be started soon, and how much of it in all."""
        load = self._executor.load(HORIZON)
        in_threads = [each for each in self._subscriptions if not each.subscriber.is_async]
        free = self._threads - sum(load.held[each] for each in in_threads)
        pending = sum((self._in_hand[each] - load.held[each]) * self._expected(each) for each in in_threads)
        wanted = [
            Wanted(
                ids=each.ids,
                rank=PRIORITIES.index(each.subscriber.options.priority),
                most=most,
                group_size=each.group_size,
                seconds=0.0 if each.subscriber.is_async else self._expected(each),
            )
            for each in self._subscriptions
            if (most := self._startable(each, load.held[each], free)) > 0
        ]
        most = max(0, min(AT_ONCE, MOST - self._in_hand.total()))
        return wanted, Budget(max(0.0, free * HORIZON - pending), min(load.idle_threads, most), most)

    def _expected(self, subscription: Subscription) -> float:
        return max(self._seconds.get(subscription, HORIZON), _SHORTEST)

    def _startable(self, subscription: Subscription, held: int, free: int) -> int:
        places = self._executor.slots(subscription) - held
        if not subscription.subscriber.is_async:
            places = min(places, free)
        if places <= 0:
            return 0
        each = max(1, int(HORIZON / self._expected(subscription)))
        return places * each - (self._in_hand[subscription] - held)
