"""Celery: each subscriber is a task of its own, on the workers that a team runs already.

A message carries the ids of deliveries only. It is acknowledged when it is received: what a dead worker had
in hand comes back from the ledger, so no setting of the broker is needed for that.
"""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import celery
from celery import signals

from whereupon.engine_protocol import Features
from whereupon.engines import celery_handoff, celery_settings, celery_tasks
from whereupon.engines.beside import name_of
from whereupon.engines.celery_sending import Outgoing, Sender
from whereupon.engines.delivering import Deliverer
from whereupon.engines.helper import Helper
from whereupon.engines.jobs import ARGUMENT, Job, checked, job_name, jobs_of
from whereupon.engines.receiving import Receiver, message_in
from whereupon.errors import InvalidConfiguration, InvalidStore, InvalidSubscriber
from whereupon.handling import time_limit_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import timedelta

    from whereupon.engine_protocol import Message, WakeUp
    from whereupon.errors import WhereuponError
    from whereupon.ledger_protocol import Finding
    from whereupon.store import EventStore
    from whereupon.subscriptions import Subscription


class CeleryEngine:
    """Runs subscribers as tasks of a Celery application.

    `store_name` is where the helper process finds the store, `shop.event_store:store`; it is looked for in
    the loaded modules if left out. The queue `default` is the application's own default queue.
    """

    kind: Final = "celery"

    def __init__(self, app: celery.Celery, *, store_name: str | None = None) -> None:
        self._app = app
        self._store_name = store_name
        self._sender = Sender(app)

    @property
    def features(self) -> Features:
        """What Celery can do with the broker of the application."""
        return Features(
            one_round_trip=self._sender.driver == "redis",
            delay=True,
            priority=self._sender.has_priorities,
            handoff=True,
        )

    def faults_of(self, subscription: Subscription) -> Iterable[WhereuponError]:
        """Yield what Celery cannot honour of a subscription."""
        subscriber = subscription.subscriber
        if celery_tasks.is_task(subscriber.function) and (fault := celery_tasks.fault_of(subscriber)):
            yield InvalidSubscriber(f"the Celery task {subscriber.name} {fault}", where=subscriber.where)
        if subscriber.options.priority != "normal" and not self._sender.has_priorities:
            yield InvalidSubscriber(
                f"the queues of Celery have no priorities, and {subscriber.name} says "
                f"priority={subscriber.options.priority!r}",
                where=subscriber.where,
                fix="set task_queue_max_priority = 10 on RabbitMQ (its queues must be made anew), or leave "
                "priority= out",
            )
        yield from celery_settings.queue_faults(self._app, subscriber)

    def register(self, store: EventStore) -> None:
        """Make a task of each subscriber, and start the helper with each worker of the application.

        A subscriber that is a task already stays that task. Without a ledger there is no helper. Raises
        `InvalidConfiguration` where the application has another task of that name, `InvalidStore` where its
        settings have become unsafe for a store without a ledger.
        """
        self._app.finalize()  # its own tasks come first, so that two of one name are noticed
        jobs = jobs_of(store.routes)
        if store.is_tracked:
            deliverer = Deliverer(store, self.kind)
            for job in jobs:
                self._register(job, store, partial(_deliver, deliverer, job), {"acks_late": False})
            _help(self._app, store, self._store_name, deliverer)
            return
        if faults := tuple(self.handoff_faults(tuple(store.routes))):
            raise InvalidStore(faults)
        receiver = Receiver(store)
        for job in jobs:
            receive = partial(self._receive, receiver, job)
            self._register(job, store, receive, celery_handoff.OPTIONS)
        if faults := tuple(celery_handoff.overridden(self._app, jobs)):
            raise InvalidStore(faults)

    def _register(
        self, job: Job, store: EventStore, handle: Callable[..., None], options: dict[str, Any]
    ) -> None:
        called = job.subscriber
        if celery_tasks.is_task(called.function):
            task: Any = self._app.tasks[called.function.name]  # type: ignore[attr-defined]
            called = celery_tasks.adopt(task, called, ARGUMENT, handle)
        else:
            limits = _limits(time_limit_of(store, job.subscriber), job.calls)
            task = self._new_task(job, handle, options | limits)
        limit = job.limit(store)
        job.use(celery_tasks.limited(called, limit) if limit else called)
        self._sender.learn(job.name, task, job.subscriber)

    def _receive(self, receiver: Receiver, job: Job, **given: Any) -> None:
        message = message_in(job.name, job.subscriber, given.get(ARGUMENT) if len(given) == 1 else None)
        celery_handoff.receive(receiver, self.hand_off, message, job)

    def _new_task(self, job: Job, handle: Callable[..., None], options: dict[str, Any]) -> Any:
        name, subscriber = job.name, job.subscriber
        if name in self._app.tasks:
            raise InvalidConfiguration(
                f"the Celery application has a task called {name} already",
                where=subscriber.where,
                fix='give the subscriber another name: @subscriber(name="...")',
            )

        def run(**given: Any) -> None:
            handle(**given)

        run.__doc__ = subscriber.function.__doc__
        return self._app.task(
            run, name=name, lazy=False, shared=False, ignore_result=True, max_retries=0, serializer="json",
            typing=False, **options,
        )  # fmt: skip

    def enqueue(self, wake_ups: Sequence[WakeUp]) -> None:
        """Send wake-ups: on Redis in one round trip for each 500, elsewhere one by one, confirmed.

        Raises `EngineUnavailable`, `InvalidConfiguration`.
        """
        if self._app.conf.task_always_eager:
            raise InvalidConfiguration(
                "task_always_eager is on, so Celery would run handlers in the relay",
                fix="turn it off, or leave engine= of the store out where there is no worker",
            )
        self._sender.send(
            [
                Outgoing(job_name(each.subscriber), f"[{each.delivery}]", str(each.delivery))
                for each in wake_ups
            ]
        )

    @property
    def promise(self) -> str:
        """What Celery promises of events that were handed over."""
        return celery_handoff.PROMISE

    def handoff_faults(self, subscriptions: Sequence[Subscription]) -> Iterable[WhereuponError]:
        """Yield delays that Celery could not hold safely, and settings that would lose or repeat events."""
        return celery_handoff.faults(self._app, self._sender.driver, subscriptions)

    def handoff_findings(self, subscriptions: Sequence[Subscription]) -> Iterable[Finding]:
        """Yield what may surprise a team whose events Celery carries alone."""
        return celery_handoff.findings(self._app, self._sender.driver, subscriptions)

    def hand_off(self, messages: Sequence[Message], on: object | None) -> None:
        """Send messages that carry their events; those of one call leave together on Redis.

        Raises `EngineUnavailable`, `InvalidConfiguration`.
        """
        del on
        driver = self._sender.driver
        celery_handoff.refuse_nobody(self._app, driver)
        self._sender.send([celery_handoff.outgoing(self._app, driver, each) for each in messages])

    async def ahand_off(self, messages: Sequence[Message], on: object | None) -> None:
        """Send messages from a thread, so that the event loop does not wait."""
        await asyncio.to_thread(self.hand_off, messages, on)

    def close(self) -> None:
        """Close the connection to the broker that this thread has opened; the next use opens another one."""
        self._sender.close()

    def findings(self) -> Iterator[Finding]:
        """Yield whether the broker answers, who consumes the subscribers' queues, and what is unsafe."""
        yield from celery_settings.findings(self._app, self._sender.driver, self._sender.queues())


def _limits(limit: timedelta | None, calls: int) -> dict[str, float]:
    """Return Celery's own limits of a job, which strike only when all of its calls had their time.

    The soft one is said as the application may have set another one for all tasks.
    """
    if limit is None:
        return {}
    hard = celery_handoff.longest(limit, calls)
    soft = hard - celery_handoff.SOFT
    return {"soft_time_limit": soft.total_seconds(), "time_limit": hard.total_seconds()}


def _deliver(deliverer: Deliverer, job: Job, **given: Any) -> None:
    deliverer.deliver(checked(job.name, given), job.subscriptions)


def _help(app: celery.Celery, store: EventStore, name: str | None, deliverer: Deliverer) -> None:
    """Start the helper when a worker of this application is ready, and stop it with the worker.

    A worker for which no helper could find the store does not start.
    """
    helpers: list[Helper] = []

    def look(sender: Any, **_: Any) -> None:
        try:
            if sender.app is app:
                name_of(store, name)
        except InvalidConfiguration as error:
            sys.exit(str(error))

    def start(sender: Any, **_: Any) -> None:
        if sender.app is app:
            helpers.append(Helper(name_of(store, name)))

    def stop(**_: Any) -> None:
        while helpers:
            helpers.pop().stop()
        deliverer.close()

    signals.worker_init.connect(look, weak=False)
    signals.worker_ready.connect(start, weak=False)
    signals.worker_shutdown.connect(stop, weak=False)
    signals.worker_process_shutdown.connect(lambda **_: deliverer.close(), weak=False)
