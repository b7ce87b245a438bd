"""The worker's side of an engine: a job names deliveries, which are claimed, handled and closed here."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from whereupon.deliveries import Close, Released
from whereupon.engines.holding import Holding
from whereupon.engines.running import Runner
from whereupon.handling import prepare

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from whereupon.deliveries import Claim
    from whereupon.store import EventStore
    from whereupon.subscriptions import Subscription


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
        self._holding = Holding(self._store, self._kind)

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
        claimed: list[list[Claim]] = []
        closes: list[Close] = []
        try:
            self._holding.claim(deliveries, list(subscriptions), claimed)
            for job in claimed:
                for ended in self._handled(job, subscriptions[job[0].subscription]):
                    closes += ended
                    self._holding.close(ended)
        except BaseException:
            known = {each.claim.delivery for each in closes}
            rest = [each for job in claimed for each in job if each.delivery not in known]
            self._holding.close([*closes, *(Close(each, Released()) for each in rest)])
            raise
        finally:
            self._holding.let_go(each for job in claimed for each in job)

    def _handled(self, job: list[Claim], subscription: Subscription) -> Iterator[list[Close]]:
        """Handle what one job holds, and yield how it ends as soon as it does."""
        calls, refused = prepare(self._store, job, subscription)
        yield refused
        for call in calls:
            yield self._runner.run(call)

    def close(self) -> None:
        """Write what is finished, and give back what this process holds without blame, as it ends."""
        if self._pid == os.getpid():
            self._holding.end()
