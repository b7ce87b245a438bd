"""What the jobs of all engines have in common: names, whom they concern, what a wake-up looks like."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from whereupon.errors import InvalidConfiguration
from whereupon.handling import time_limit_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import timedelta

    from whereupon.store import EventStore
    from whereupon.subscribers import Subscriber
    from whereupon.subscriptions import Subscription

ARGUMENT: Final = "whereupon"
"""The keyword by which a wake-up is told from a call by somebody else."""
DEFAULT_QUEUE: Final = "default"
"""The queue of a subscriber that names none: the engine's or the application's own default queue."""


class Job(NamedTuple):
    """What an engine runs for one subscriber: its stable name, and the subscriptions by all of their ids."""

    name: str
    subscriber: Subscriber
    subscriptions: dict[str, Subscription]

    @property
    def calls(self) -> int:
        """How many calls it may hold, one after the other: as many as its largest group has events."""
        return max(map(calls_of, self.subscriptions.values()))

    def limit(self, store: EventStore) -> timedelta | None:
        """Return how long one call may take; none where there is no limit, or a coroutine is cancelled."""
        return None if self.subscriber.is_async else time_limit_of(store, self.subscriber)

    def use(self, subscriber: Subscriber) -> None:
        """Let its deliveries call this, which stands for the subscriber of the table."""
        self.subscriptions.update(
            {id_: replace(each, subscriber=subscriber) for id_, each in self.subscriptions.items()}
        )


def calls_of(subscription: Subscription) -> int:
    """Return how many calls a job of a subscription may hold."""
    return 1 if subscription.subscriber.takes_list else subscription.group_size


def job_name(subscriber: Subscriber) -> str:
    """Return the name under which an engine knows a subscriber: `<context>.<name>`."""
    return f"{subscriber.context}.{subscriber.name}"


def jobs_of(routes: Iterable[Subscription]) -> list[Job]:
    """Return one job for each subscriber in a table."""
    jobs: dict[str, Job] = {}
    for each in routes:
        name = job_name(each.subscriber)
        job = jobs.setdefault(name, Job(name, each.subscriber, {}))
        job.subscriptions.update(dict.fromkeys(each.ids, each))
    return list(jobs.values())


def checked(name: str, given: Mapping[str, Any]) -> list[int]:
    """Return the ids in the arguments of a wake-up. Raises `InvalidConfiguration` for anything else."""
    ids = given.get(ARGUMENT)
    if len(given) != 1 or not isinstance(ids, list) or not all(type(each) is int for each in ids):
        raise InvalidConfiguration(
            f"the task {name} was called with something that is no wake-up",
            fix="publish the event instead; what should call the function directly can do so",
        )
    return ids
