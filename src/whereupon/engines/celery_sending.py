"""Sending messages to the broker of a Celery application, on a connection of each thread's own."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from amqp.exceptions import MessageNacked
from kombu.exceptions import KombuError

from whereupon.engines.celery_templates import Filling, Pusher, Template, is_listened_to, template_of
from whereupon.engines.jobs import ARGUMENT, DEFAULT_QUEUE
from whereupon.errors import EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import celery
    from kombu.connection import Connection

    from whereupon.subscribers import Priority, Subscriber

_SECONDS: Final = 2  # within which the broker must answer
_PAGE: Final = 500  # messages in one round trip
_PAGE_SIZE: Final = 4 * 1024 * 1024  # characters in one round trip, roughly
_PRIORITIES: Final[dict[str, dict[Priority, int]]] = {
    "redis": {"high": 0, "normal": 3, "low": 9},
    "amqp": {"high": 9, "normal": 5, "low": 1},
}
_ONCE: Final[dict[str, Any]] = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}
_TRANSPORTS: Final[dict[str, dict[str, Any]]] = {
    "redis": {"socket_timeout": _SECONDS, "socket_connect_timeout": _SECONDS},
    "amqp": {"read_timeout": _SECONDS, "write_timeout": _SECONDS},
}
_AS_OURS: Final[dict[str, Any]] = {"retry": False, "ignore_result": True, "serializer": "json"}
_SERVERS: Final = {"redis": " (redis-server)", "amqp": " (rabbitmq-server)"}


class Outgoing(NamedTuple):
    """A message to be sent: for which job, the argument as JSON, and what monitoring shows instead of it."""

    job: str
    argument: str
    shown: str
    delay: timedelta = timedelta(0)


def connection_to(app: celery.Celery, driver: str, **options: Any) -> Connection:
    """Return a new connection to the broker of an application, on which nothing takes long."""
    connection: Connection = app.connection_for_write(
        connect_timeout=_SECONDS, transport_options=_ONCE | _TRANSPORTS.get(driver, {}) | options
    )
    return connection


def reason_of(error: Exception) -> str:
    """Say what an error is about that Celery may have put into one of its own."""
    cause = error.__cause__ or error
    return f"{type(cause).__name__}: {cause}".removesuffix(": ")


def way_to_start(driver: str) -> str:
    """Say what to do where a broker does not answer."""
    return f"start it{_SERVERS.get(driver, '')}, or mend broker_url of Celery"


class Sender:
    """Sends to the tasks of an application."""

    def __init__(self, app: celery.Celery) -> None:
        self._app = app
        self._ways: dict[str, dict[str, Any]] = {}
        self._local = threading.local()
        self._pid = os.getpid()
        self._templates: dict[str, Template | None] = {}
        self._driver = ""

    @property
    def driver(self) -> str:
        """Which kind of broker the application is set to: `redis`, `amqp`, or another word."""
        return self._driver or str(self._app.connection_for_write().transport.driver_type)

    @property
    def has_priorities(self) -> bool:
        """Tell whether the broker starts what has a higher priority first.

        RabbitMQ does so in queues that were declared with a highest priority only. A broker for tests, which
        nobody else can reach, has whatever is asked for.
        """
        is_declared = self._app.conf.task_queue_max_priority is not None
        return self.driver in {"redis", "memory"} or (self.driver == "amqp" and is_declared)

    def learn(self, job: str, task: Any, subscriber: Subscriber) -> None:
        """Note how the messages of a job are sent: to which task, on which queue, how urgently."""
        self._driver = self.driver
        options = subscriber.options
        way: dict[str, Any] = {"name": task.name, "task_type": task}
        if queue := getattr(task, "queue", None) if options.queue == DEFAULT_QUEUE else options.queue:
            way["queue"] = queue
        if steps := _PRIORITIES.get(self.driver):
            way["priority"] = steps[options.priority]
        self._ways[job] = way

    def queues(self) -> set[str]:
        """Return in which queues messages end, by the application's own routes."""
        return {self._queue(job) for job in self._ways}

    def _queue(self, job: str) -> str:
        way = self._ways[job]
        return str(self._app.amqp.router.route(dict(way), way["name"])["queue"].name)

    def send(self, messages: Sequence[Outgoing]) -> None:
        """Send messages: on Redis in one round trip for each 500, elsewhere one by one, confirmed.

        A connection that has been broken since its last use is opened again. Raises `EngineUnavailable`.
        """
        sent = 0
        while sent < len(messages):
            is_old = self._existing() is not None
            try:
                for taken in self._sending(messages[sent:]):
                    sent += taken
            except Exception as error:
                is_late = "timeout" in reason_of(error).lower()
                self.close(politely=not is_late)
                connection = self._app.connection_for_write()
                if isinstance(error.__cause__, MessageNacked):
                    raise self._refused(connection, messages[sent].job, sent) from error
                broken = (OSError, KombuError, *connection.connection_errors, *connection.channel_errors)
                if not isinstance(error, broken) or isinstance(error, KeyError):  # kombu lists that one too
                    raise
                if not is_old or is_late:
                    raise self._away(connection, error, sent) from error

    def _sending(self, messages: Sequence[Outgoing]) -> Iterator[int]:
        """Send messages; yield how many more have been taken by the broker."""
        producer = self._producer()
        is_batch = self.driver == "redis" and hasattr(producer, "batch")
        for page in _pages(messages):
            templates = self._templates_for(producer, page)
            if templates is not None:
                self._push(producer, page, templates)
                yield len(page)
            elif is_batch:
                with producer.batch(_PAGE):
                    for message in page:
                        self._send(producer, message)
                yield len(page)
            else:
                for message in page:
                    self._send(producer, message)
                    yield 1

    def _templates_for(self, producer: Any, page: Sequence[Outgoing]) -> dict[str, Template] | None:
        """Return the templates of all jobs of a page; None where one is without."""
        if self._pid != os.getpid():
            self._pid, self._templates = os.getpid(), {}
        if is_listened_to():
            return None
        found: dict[str, Template] = {}
        for job in {each.job for each in page}:
            if job not in self._templates:
                send = partial(self._app.send_task, producer=producer, **_AS_OURS, **self._ways[job])
                self._templates[job] = template_of(self._app, producer, send, ARGUMENT)
            template = self._templates[job]
            if template is None:
                return None
            found[job] = template
        return found

    def _push(self, producer: Any, page: Sequence[Outgoing], templates: Mapping[str, Template]) -> None:
        parent = self._app.current_worker_task
        request = parent.request if parent else None
        root, parent_id = (request.root_id or request.id, request.id) if request else (None, None)
        if self._local.pusher is None:
            self._local.pusher = Pusher(producer)
        filled: list[tuple[str, str]] = []
        for each in page:
            template = templates[each.job]
            filling = Filling(each.argument, each.shown, each.delay, root, parent_id)
            filled.append((template.key, template.fill(filling)))
        self._local.pusher.push(filled)

    def _send(self, producer: Any, message: Outgoing) -> None:
        self._app.send_task(
            kwargs={ARGUMENT: json.loads(message.argument)}, kwargsrepr=message.shown, producer=producer,
            countdown=message.delay.total_seconds() or None, **_AS_OURS, **self._ways[message.job],
        )  # fmt: skip

    def _existing(self) -> Any:
        """Return the producer of this thread; one from before a fork is left to the parent."""
        if getattr(self._local, "pid", None) != os.getpid():
            self._local.left = getattr(self._local, "producer", None), getattr(self._local, "pusher", None)
            self._local.pid, self._local.producer, self._local.pusher = os.getpid(), None, None
        return self._local.producer

    def _producer(self) -> Any:
        """Return the producer of this thread, connected."""
        producer = self._existing()
        if producer is None:
            connection = connection_to(self._app, self.driver, confirm_publish=True)
            producer = self._local.producer = self._app.amqp.Producer(connection)
        return producer

    def _away(self, connection: Any, error: Exception, sent: int) -> EngineUnavailable:
        return EngineUnavailable(
            f"the broker {connection.as_uri()} does not take jobs ({reason_of(error)})",
            fix=way_to_start(self.driver),
            sent=sent,
        )

    def _refused(self, connection: Any, job: str, sent: int) -> EngineUnavailable:
        queue = self._queue(job)
        return EngineUnavailable(
            f"the queue {queue} of the broker {connection.as_uri()} does not take jobs: RabbitMQ refused "
            "one, as a full queue does that is set to (overflow=reject-publish)",
            fix=f"start more workers with -Q {queue}, or raise the x-max-length of the queue",
            sent=sent,
        )

    def close(self, *, politely: bool = True) -> None:
        """Close the connection to the broker that this thread has opened; the next use opens another one.

        Where that is not polite, it does not wait until the broker has agreed.
        """
        producer, pusher = self._existing(), self._local.pusher
        self._local.producer = self._local.pusher = None
        with contextlib.suppress(Exception):  # it may be broken
            if pusher is not None:
                pusher.close()
            if producer is not None:
                end = producer.connection.close if politely else producer.connection.collect
                end()


def _pages(messages: Sequence[Outgoing]) -> Iterator[Sequence[Outgoing]]:
    """Cut messages into what is sent at once, by their number and by their size."""
    start = size = 0
    for position, message in enumerate(messages):
        if position > start and (position - start == _PAGE or size + len(message.argument) > _PAGE_SIZE):
            yield messages[start:position]
            start, size = position, 0
        size += len(message.argument)
    if start < len(messages):
        yield messages[start:]
