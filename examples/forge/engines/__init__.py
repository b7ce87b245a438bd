"""Which job engine the workers are of: the one that FORGE_ENGINE names, with its broker at FORGE_BROKER.

Without it, local workers handle everything. Each module here holds what a team has of one engine already,
its application, the engine made of it, and how a worker is started.
"""

import os
import pkgutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from whereupon.engine_protocol import Engine
from whereupon.subscribers import Subscriber
from whereupon.subscriptions import Subscription

NAMES: Final = ("celery", "dramatiq", "rq", "procrastinate")
QUEUES: Final = ("ci", "mail", "merge_requests", "onboarding", "search")
"""The queues of the subscribers, which the workers of an engine are told to consume."""
_LOCAL: Final = (
    sys.executable, "-m", "whereupon", "worker", "--store", "forge.event_store:store", "--processes", "1",
)  # fmt: skip


def _chosen() -> Any:
    name = os.environ.get("FORGE_ENGINE")
    return pkgutil.resolve_name(f"forge.engines.{name}_engine") if name in NAMES else None


def engine() -> Engine | None:
    """Return the engine of the store."""
    chosen = _chosen()
    return chosen.ENGINE if chosen else None


def prepare() -> None:
    """Make what a team's broker has already, such as tables."""
    if chosen := _chosen():
        chosen.prepare()


def fitted(subscriptions: Iterable[Subscription]) -> list[Subscription]:
    """Leave out the priorities where the engine has none; an application leaves them out by itself."""
    chosen = engine()
    if chosen is None or chosen.features.priority:
        return list(subscriptions)
    return [replace(each, subscriber=_without_priority(each.subscriber)) for each in subscriptions]


def _without_priority(subscriber: Subscriber) -> Subscriber:
    return replace(subscriber, options=replace(subscriber.options, priority="normal"))


def command() -> Sequence[str]:
    """Return how a worker is started."""
    chosen = _chosen()
    return (sys.executable, "-m", *chosen.COMMAND) if chosen else _LOCAL
