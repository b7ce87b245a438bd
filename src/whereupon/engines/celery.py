"""Celery: each subscriber is a task of its own, on the workers that a team runs already.

A message carries the ids of deliveries only. It is acknowledged when it is received: what a dead worker had
in hand comes back from the ledger, so no setting of the broker is needed for that.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import celery
from celery import signals
from kombu.exceptions import KombuError
from kombu.messaging import Producer

from whereupon.engine_protocol import Features
from whereupon.engines import celery_settings, celery_tasks
from whereupon.engines.beside import name_of
from whereupon.engines.delivering import Deliverer
from whereupon.engines.helper import Helper
from whereupon.engines.jobs import ARGUMENT, DEFAULT_QUEUE, Job, checked, job_name, jobs_of
from whereupon.errors import EngineUnavailable, InvalidConfiguration, InvalidSubscriber

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from whereupon.engine_protocol import WakeUp
    from whereupon.errors import WhereuponError
    from whereupon.ledger_protocol import Finding
    from whereupon.store import EventStore
    from whereupon.subscribers import Priority, Subscriber
    from whereupon.subscriptions import Subscription

_PAGE: Final = 500  # messages in one round trip
_SECONDS: Final = 2  # within which the broker must answer
_HARD: Final = timedelta(seconds=10)  # above timeout=, until Celery kills the process
_PRIORITIES: Final[dict[str, dict[Priority, int]]] = {
    "redis": {"high": 0, "normal": 3, "low": 9},
    "amqp": {"high": 9, "normal": 5, "low": 1},
}
_ONCE: Final[dict[str, Any]] = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}
_SERVERS: Final = {"redis": " (redis-server)", "amqp": " (rabbitmq-server)"}
_TRANSPORTS: Final[dict[str, dict[str, Any]]] = {
    "redis": {"socket_timeout": _SECONDS, "socket_connect_timeout": _SECONDS},
    "amqp": {"confirm_publish": True, "read_timeout": _SECONDS, "write_timeout": _SECONDS},
}


class CeleryEngine:
    """Runs subscribers as tasks of a Celery application.

    `store_name` is where the helper process finds the store, `shop.event_store:store`; it is looked for in
    the loaded modules if left out. The queue `default` is the application's own default queue.
    """

    kind: Final = "celery"

    def __init__(self, app: celery.Celery, *, store_name: str | None = None) -> None:
        self._app = app
        self._store_name = store_name
        self._tasks: dict[str, Any] = {}
        self._subscribers: list[Subscriber] = []
        self._local = threading.local()

    @property
    def features(self) -> Features:
        """What Celery can do with the broker of the application."""
        is_redis = self._driver() == "redis"
        return Features(
            one_round_trip=is_redis and hasattr(Producer, "batch"),
            priority=self._driver() in _PRIORITIES,
        )

    def faults_of(self, subscription: Subscription) -> Iterable[WhereuponError]:
        """Yield what Celery cannot honour of a subscription."""
        subscriber = subscription.subscriber
        if celery_tasks.is_task(subscriber.function) and (fault := celery_tasks.fault_of(subscriber)):
            yield InvalidSubscriber(f"the Celery task {subscriber.name} {fault}", where=subscriber.where)

    def register(self, store: EventStore) -> None:
        """Make a task of each subscriber, and start the helper with each worker of the application.

        A subscriber that is a task already stays that task. Raises `InvalidConfiguration` where the
        application has another task of that name.
        """
        self._app.finalize()  # its own tasks come first, so that two of one name are noticed
        deliverer = Deliverer(store, self.kind)
        for job in jobs_of(store.routes):
            self._tasks[job.name] = self._task(deliverer, job)
            self._subscribers.append(job.subscriber)
        _help(self._app, store, self._store_name, deliverer)

    def _task(self, deliverer: Deliverer, job: Job) -> Any:
        known = dict(job.subscriptions)

        def handle(**given: Any) -> None:
            deliverer.deliver(checked(job.name, given), known)

        function = job.subscriber.function
        if not celery_tasks.is_task(function):
            return self._new_task(job, handle)
        task: Any = self._app.tasks[function.name]  # type: ignore[attr-defined]
        adopted = celery_tasks.adopt(task, job.subscriber, ARGUMENT, handle)
        known.update({id_: replace(each, subscriber=adopted) for id_, each in known.items()})
        return task

    def _new_task(self, job: Job, handle: Callable[..., None]) -> Any:
        name, subscriber, options = job.name, job.subscriber, job.subscriber.options
        if name in self._app.tasks:
            raise InvalidConfiguration(
                f"the Celery application has a task called {name} already",
                where=subscriber.where,
                fix='give the subscriber another name: @subscriber(name="...")',
            )
        limits: dict[str, Any] = {}
        if options.timeout is not None and not subscriber.is_async:
            limits["soft_time_limit"] = options.timeout.total_seconds()
            limits["time_limit"] = (options.timeout + _HARD).total_seconds()
        handle.__doc__ = subscriber.function.__doc__
        return self._app.task(
            handle, name=name, lazy=False, shared=False, ignore_result=True, acks_late=False,
            max_retries=0, serializer="json", typing=False, **limits,
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
        ways = {job_name(each.subscriber): self._way(each.subscriber) for each in wake_ups}
        with self._translated(), self._producer() as producer:
            for wake_up in wake_ups:
                self._app.send_task(
                    kwargs={ARGUMENT: [wake_up.delivery]}, producer=producer, retry=False,
                    ignore_result=True, **ways[job_name(wake_up.subscriber)],
                )  # fmt: skip

    def _way(self, subscriber: Subscriber) -> dict[str, Any]:
        """Return how the wake-ups of a subscriber are sent: to which task, on which queue, how urgently."""
        task, options = self._tasks[job_name(subscriber)], subscriber.options
        way: dict[str, Any] = {"name": task.name, "task_type": task}
        if queue := getattr(task, "queue", None) if options.queue == DEFAULT_QUEUE else options.queue:
            way["queue"] = queue
        if steps := _PRIORITIES.get(self._driver()):
            way["priority"] = steps[options.priority]
        return way

    def _driver(self) -> str:
        """Return which kind of broker the application is set to: `redis`, `amqp`, or another word."""
        return str(self._app.connection_for_write().transport.driver_type)

    @contextlib.contextmanager
    def _producer(self) -> Iterator[Producer]:
        """Lend the producer of this thread, whose messages leave together where kombu can do that."""
        producer: Any = getattr(self._local, "producer", None)
        if producer is None:
            connection = self._app.connection_for_write(
                connect_timeout=_SECONDS, transport_options=_ONCE | _TRANSPORTS.get(self._driver(), {})
            )
            producer = self._local.producer = self._app.amqp.Producer(connection)
        batch = producer.batch(_PAGE) if hasattr(producer, "batch") else contextlib.nullcontext()
        with batch:
            yield producer

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn what goes wrong with the broker into `EngineUnavailable`, and begin with a new connection."""
        connection = self._app.connection_for_write()
        try:
            yield
        except (
            OSError,
            KombuError,
            *connection.connection_errors,
            *connection.channel_errors,
        ) as error:
            self.close()
            server = _SERVERS.get(self._driver(), "")
            raise EngineUnavailable(
                f"the broker {connection.as_uri()} does not take jobs ({type(error).__name__}: {error})",
                fix=f"start it{server}, or mend broker_url of Celery; nothing is lost",
            ) from error

    def close(self) -> None:
        """Close the connection to the broker that this thread has opened; the next use opens another one."""
        producer, self._local.producer = getattr(self._local, "producer", None), None
        if producer is not None:
            with contextlib.suppress(Exception):  # it may be broken
                producer.connection.close()

    def findings(self) -> Iterator[Finding]:
        """Yield whether the broker answers, who consumes the subscribers' queues, and what is unsafe."""
        yield from celery_settings.findings(self._app, set(map(self._queue, self._subscribers)))

    def _queue(self, subscriber: Subscriber) -> str:
        """Return in which queue the wake-ups of a subscriber end, by the application's own routes."""
        way = self._way(subscriber)
        return str(self._app.amqp.router.route(way, way["name"])["queue"].name)


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
