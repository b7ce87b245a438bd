"""Dramatiq: each subscriber is an actor of its own, on the workers that a team runs already.

A message carries the id of a delivery only. A message that fails is not tried again by Dramatiq: what a dead
worker had in hand, and what a handler could not do, comes back from the ledger.
"""

from __future__ import annotations

import contextlib
import re
import sys
import threading
from typing import TYPE_CHECKING, Any, Final

import dramatiq
from dramatiq.brokers.stub import StubBroker
from dramatiq.errors import BrokerConnectionError as BrokerAway
from dramatiq.middleware import TimeLimit

from whereupon.engine_protocol import Features
from whereupon.engines.beside import name_of
from whereupon.engines.delivering import Deliverer
from whereupon.engines.dramatiq_sending import Sender, sender_to
from whereupon.engines.helper import Helper
from whereupon.engines.jobs import ARGUMENT, Job, checked, job_name, jobs_of
from whereupon.errors import EngineUnavailable, InvalidConfiguration, InvalidSubscriber

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from whereupon.engine_protocol import WakeUp
    from whereupon.errors import WhereuponError
    from whereupon.ledger_protocol import Finding
    from whereupon.store import EventStore
    from whereupon.subscribers import Priority, Subscriber
    from whereupon.subscriptions import Subscription

_QUEUE: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9._-]*")
_PRIORITIES: Final[dict[Priority, int]] = {"high": -10, "normal": 0, "low": 10}
"""Lower is sooner with Dramatiq, and the team's own actors have 0."""


class DramatiqEngine:
    """Runs subscribers as actors on a broker of Dramatiq's, for RabbitMQ or for Redis.

    `store_name` is where the helper process finds the store, `shop.event_store:store`; it is looked for in
    the loaded modules if left out.
    """

    kind: Final = "dramatiq"
    features: Final = Features(priority=True)

    def __init__(self, broker: dramatiq.Broker, *, store_name: str | None = None) -> None:
        self._broker = broker
        self._store_name = store_name
        self._subscribers: list[Subscriber] = []
        self._local = threading.local()

    def faults_of(self, subscription: Subscription) -> Iterable[WhereuponError]:
        """Yield what Dramatiq cannot honour of a subscription."""
        subscriber, options = subscription.subscriber, subscription.subscriber.options
        if not _QUEUE.fullmatch(options.queue):
            yield InvalidSubscriber(
                f"{options.queue!r} is no name of a queue for Dramatiq",
                where=subscriber.where,
                fix="begin with a letter or _, and go on with letters, digits, dots, dashes and _",
            )
        if options.timeout is not None and not subscriber.is_async and not self._has_time_limits():
            yield InvalidSubscriber(
                f"{subscriber.name} has timeout=, and the broker has no TimeLimit middleware to honour it",
                where=subscriber.where,
                fix="add dramatiq.middleware.TimeLimit() to the broker",
            )

    def _has_time_limits(self) -> bool:
        return any(isinstance(each, TimeLimit) for each in self._broker.middleware)

    def register(self, store: EventStore) -> None:
        """Make an actor of each subscriber, and start the helper with each worker process.

        Raises `InvalidConfiguration` where the broker has another actor of that name.
        """
        deliverer = Deliverer(store, self.kind)
        for job in jobs_of(store.routes):
            self._actor(deliverer, job)
            self._subscribers.append(job.subscriber)
        self._broker.add_middleware(_Helping(store, self._store_name, deliverer))

    def _actor(self, deliverer: Deliverer, job: Job) -> None:
        def handle(*arguments: Any, **given: Any) -> None:
            deliverer.deliver(checked(job.name, given if not arguments else {}), job.subscriptions)

        if job.name in self._broker.actors:
            raise InvalidConfiguration(
                f"the broker has an actor called {job.name} already",
                where=job.subscriber.where,
                fix='give the subscriber another name: @subscriber(name="...")',
            )
        options = job.subscriber.options
        limit = options.timeout if not job.subscriber.is_async else None
        milliseconds = limit.total_seconds() * 1000 if limit else float("inf")
        wanted = {"max_retries": 0, "time_limit": milliseconds, "max_age": float("inf")}
        of_middleware: dict[str, Any] = {
            name: value for name, value in wanted.items() if name in self._broker.actor_options
        }
        dramatiq.actor(
            actor_name=job.name,
            queue_name=options.queue,
            priority=_PRIORITIES[options.priority],
            broker=self._broker,
            **of_middleware,
        )(handle)

    def enqueue(self, wake_ups: Sequence[WakeUp]) -> None:
        """Send wake-ups: on Redis in two round trips, on RabbitMQ one by one, each confirmed.

        Raises `EngineUnavailable`, `InvalidConfiguration`.
        """
        if isinstance(self._broker, StubBroker):
            raise InvalidConfiguration(
                "the broker is a StubBroker, from which no worker would ever get a delivery",
                fix="give the engine a RabbitmqBroker or a RedisBroker",
            )
        messages = [_message(each) for each in wake_ups]
        try:
            self._sender().send(messages)
        except (BrokerAway, OSError) as error:
            self.close()
            raise EngineUnavailable(
                f"{self._sender().place} does not take jobs ({type(error).__name__}: {error})",
                fix=f"start it ({self._sender().server}), or mend the broker of the engine; nothing is lost",
            ) from error

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
        except (BrokerAway, OSError) as error:
            yield "error", f"{self._sender().place} does not answer: {error}"
            self.close()


def _message(wake_up: WakeUp) -> dramatiq.Message[Any]:
    return dramatiq.Message(
        queue_name=wake_up.subscriber.options.queue,
        actor_name=job_name(wake_up.subscriber),
        args=(),
        kwargs={ARGUMENT: [wake_up.delivery]},
        options={},
    )


class _Helping(dramatiq.Middleware):
    """Starts a helper with each worker process, and ends it with that."""

    def __init__(self, store: EventStore, name: str | None, deliverer: Deliverer) -> None:
        self._store = store
        self._name = name
        self._deliverer = deliverer
        self._helpers: list[Helper] = []

    def after_worker_boot(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        """Start the helper; a process for which none could find the store ends."""
        del broker, worker
        try:
            self._helpers.append(Helper(name_of(self._store, self._name)))
        except InvalidConfiguration as error:
            sys.exit(str(error))

    def after_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        """Stop the helper, and give back what this process holds."""
        del broker, worker
        while self._helpers:
            self._helpers.pop().stop()
        self._deliverer.close()
