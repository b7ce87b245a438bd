"""Dramatiq: each subscriber is an actor of its own, on the workers that a team runs already.

A message carries the id of a delivery only. A message that fails is not tried again by Dramatiq: what a dead
worker had in hand, and what a handler could not do, comes back from the ledger.
"""

from __future__ import annotations

import contextlib
import re
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import TimeLimit

from whereupon.engine_protocol import Features
from whereupon.engines.delivering import Deliverer
from whereupon.engines.dramatiq_helping import Helping
from whereupon.engines.dramatiq_sending import Sender, sender_to
from whereupon.engines.jobs import ARGUMENT, Job, checked, job_name, jobs_of
from whereupon.errors import EngineUnavailable, InvalidConfiguration, InvalidSubscriber

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import timedelta

    from whereupon.engine_protocol import WakeUp
    from whereupon.errors import WhereuponError
    from whereupon.ledger_protocol import Finding
    from whereupon.store import EventStore
    from whereupon.subscribers import Priority, Subscriber
    from whereupon.subscriptions import Subscription

_QUEUE: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9._-]*(?<!\.[DX]Q)")  # which are Dramatiq's own
_OPTIONS: Final = {
    "max_retries": 0, "retry_when": None, "max_age": float("inf"), "time_limit": float("inf"),
    "notify_shutdown": False,
}  # fmt: skip
"""What the team's middleware does to its own messages by default, and must not do to ours."""
_PRIORITIES: Final[dict[Priority, int]] = {"high": -10, "normal": 0, "low": 10}
"""Among what a worker has fetched lower is sooner, and the team's own actors have 0."""
_LEVELS: Final = 2  # and zero: as many as there are words


class DramatiqEngine:
    """Runs subscribers as actors on a broker of Dramatiq's, for RabbitMQ or for Redis.

    `store_name` is where the helper process finds the store, `shop.event_store:store`; it is looked for in
    the loaded modules if left out.
    """

    kind: Final = "dramatiq"

    def __init__(self, broker: dramatiq.Broker, *, store_name: str | None = None) -> None:
        self._broker = broker
        self._store_name = store_name
        self._subscribers: list[Subscriber] = []
        self._local = threading.local()

    @property
    def features(self) -> Features:
        """What Dramatiq can do with the broker."""
        return Features(one_round_trip=True, priority=self._has_priorities(), fetches_ahead=True)

    def _has_priorities(self) -> bool:
        """Tell whether what waits in the broker leaves it by priority: on RabbitMQ, if the team says so."""
        return isinstance(self._broker, RabbitmqBroker) and (self._broker.max_priority or 0) >= _LEVELS

    def faults_of(self, subscription: Subscription) -> Iterable[WhereuponError]:
        """Yield what Dramatiq cannot honour of a subscription."""
        subscriber, options = subscription.subscriber, subscription.subscriber.options
        if not _QUEUE.fullmatch(options.queue):
            yield InvalidSubscriber(
                f"{options.queue!r} is no name of a queue for Dramatiq",
                where=subscriber.where,
                fix="take letters, digits, ., - and _, a letter or _ first, and no .DQ or .XQ at the end",
            )
        is_stub = isinstance(self._broker, StubBroker)
        if options.priority != "normal" and not self._has_priorities() and not is_stub:
            yield InvalidSubscriber(
                f"{subscriber.name} says priority={options.priority!r}, and the broker has no priorities",
                where=subscriber.where,
                fix="give it a queue of its own, or take RabbitmqBroker(max_priority=10)",
            )
        if options.timeout is not None and not subscriber.is_async and self._time_limit() is None:
            yield InvalidSubscriber(
                f"{subscriber.name} has timeout=, and the broker has no TimeLimit middleware to honour it",
                where=subscriber.where,
                fix="add dramatiq.middleware.TimeLimit() to the broker",
            )

    def _time_limit(self) -> TimeLimit | None:
        return next((each for each in self._broker.middleware if isinstance(each, TimeLimit)), None)

    def register(self, store: EventStore) -> None:
        """Make an actor of each subscriber, and start a helper with the workers.

        Raises `InvalidConfiguration` where the broker has another actor of that name.
        """
        deliverer = Deliverer(store, self.kind)
        for job in jobs_of(store.routes):
            self._actor(deliverer, job, job.limit(store))
            self._subscribers.append(job.subscriber)
        self._broker.add_middleware(Helping(store, self._store_name, deliverer))

    def _actor(self, deliverer: Deliverer, job: Job, limit: timedelta | None) -> None:
        if job.name in self._broker.actors:
            raise InvalidConfiguration(
                f"the broker has an actor called {job.name} already",
                where=job.subscriber.where,
                fix='give the subscriber another name: @subscriber(name="...")',
            )
        options, time_limit = job.subscriber.options, self._time_limit()
        if time_limit is not None and limit is not None:
            function = _limited(job.subscriber.function, time_limit, limit)
            job.use(replace(job.subscriber, function=function))

        def handle(*arguments: Any, **given: Any) -> None:
            deliverer.deliver(checked(job.name, given if not arguments else {}), job.subscriptions)

        of_middleware: dict[str, Any] = {
            name: value for name, value in _OPTIONS.items() if name in self._broker.actor_options
        }
        dramatiq.actor(
            actor_name=job.name,
            queue_name=options.queue,
            priority=_PRIORITIES[options.priority],
            broker=self._broker,
            **of_middleware,
        )(handle)

    def enqueue(self, wake_ups: Sequence[WakeUp]) -> None:
        """Send wake-ups in one round trip; RabbitMQ confirms them.

        Raises `EngineUnavailable`, `InvalidConfiguration`.
        """
        if isinstance(self._broker, StubBroker):
            raise InvalidConfiguration(
                "the broker is a StubBroker, from which no worker would ever get a delivery",
                fix="give the engine a RabbitmqBroker or a RedisBroker",
            )
        messages = [self._message(each) for each in wake_ups]
        try:
            self._sender().send(messages)
        except OSError as error:
            self.close()
            raise EngineUnavailable(
                f"{self._sender().place} does not take jobs ({type(error).__name__}: {error})",
                fix=f"start it ({self._sender().server}), or mend the broker of the engine; nothing is lost",
            ) from error

    def _message(self, wake_up: WakeUp) -> dramatiq.Message[Any]:
        options: dict[str, Any] = {}
        if self._has_priorities():
            most: int = self._broker.max_priority  # type: ignore[attr-defined]
            steps: dict[Priority, int] = {"high": most, "normal": most // 2, "low": 0}
            options["broker_priority"] = steps[wake_up.subscriber.options.priority]
        return dramatiq.Message(
            queue_name=wake_up.subscriber.options.queue,
            actor_name=job_name(wake_up.subscriber),
            args=(),
            kwargs={ARGUMENT: [wake_up.delivery]},
            options=options,
        )

    def _sender(self) -> Sender:
        """Return what sends on this thread: a broker of our own to the same server, with deadlines."""
        sender: Sender | None = getattr(self._local, "sender", None)
        if sender is None:
            sender = self._local.sender = sender_to(self._broker)
        return sender

    def close(self) -> None:
        """Close the connection that this thread has opened; the next use opens another one."""
        sender: Sender | None = getattr(self._local, "sender", None)
        self._local.sender = None
        if sender is not None:
            with contextlib.suppress(Exception):  # it may be broken
                sender.close()

    def findings(self) -> Iterator[Finding]:
        """Yield whether the broker answers, who consumes the subscribers' queues, and what is unsafe."""
        if isinstance(self._broker, StubBroker):
            yield "error", "the broker is a StubBroker: no worker would ever get a delivery"
            return
        if not isinstance(dramatiq.get_encoder(), dramatiq.JSONEncoder):
            yield "warning", "the encoder of messages is not JSON: who can write to the broker may run code"
        try:
            yield from self._sender().findings({each.options.queue for each in self._subscribers})
        except OSError as error:
            yield "error", f"{self._sender().place} does not answer: {error}"
            self.close()


def _limited(function: Callable[..., object], limit: TimeLimit, timeout: timedelta) -> Callable[..., object]:
    """Return a subscriber that Dramatiq interrupts when it runs for too long.

    A limit of the actor would count all events of a group, and the wait for a turn or for the ledger.
    """
    manager: Any = limit.manager

    def run(*arguments: Any) -> object:
        manager.add_timeout(threading.get_ident(), timeout.total_seconds() * 1000)
        try:
            return function(*arguments)
        finally:
            manager.remove_timeout(threading.get_ident())

    return run
