"""Sending messages to the broker of a Celery application, on a connection of each thread's own."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from kombu.exceptions import KombuError

from whereupon.engines.jobs import ARGUMENT, DEFAULT_QUEUE
from whereupon.errors import EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import celery

    from whereupon.subscribers import Priority, Subscriber

_SECONDS: Final = 2  # within which the broker must answer
_PAGE: Final = 500  # messages in one round trip
_PRIORITIES: Final[dict[str, dict[Priority, int]]] = {
    "redis": {"high": 0, "normal": 3, "low": 9},
    "amqp": {"high": 9, "normal": 5, "low": 1},
}
_ONCE: Final[dict[str, Any]] = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}
_TRANSPORTS: Final[dict[str, dict[str, Any]]] = {
    "redis": {"socket_timeout": _SECONDS, "socket_connect_timeout": _SECONDS},
    "amqp": {"confirm_publish": True, "read_timeout": _SECONDS, "write_timeout": _SECONDS},
}
_START: Final = {"redis": "redis-server --port {}", "amqp": "rabbitmq-server"}


class Outgoing(NamedTuple):
    """A message to be sent: for which job, the argument as JSON, and what monitoring shows instead of it."""

    job: str
    argument: str
    shown: str
    delay: timedelta = timedelta(0)


class Sender:
    """Sends to the tasks of an application."""

    def __init__(self, app: celery.Celery) -> None:
        self._app = app
        self._ways: dict[str, dict[str, Any]] = {}
        self._local = threading.local()

    @property
    def driver(self) -> str:
        """Which kind of broker the application is set to: `redis`, `amqp`, or another word."""
        return str(self._app.connection_for_write().transport.driver_type)

    @property
    def has_priorities(self) -> bool:
        """Tell whether the broker starts what has a higher priority first."""
        return self.driver in _PRIORITIES

    def learn(self, job: str, task: Any, subscriber: Subscriber) -> None:
        """Note how the messages of a job are sent: to which task, on which queue, how urgently."""
        options = subscriber.options
        way: dict[str, Any] = {"name": task.name, "task_type": task}
        if queue := getattr(task, "queue", None) if options.queue == DEFAULT_QUEUE else options.queue:
            way["queue"] = queue
        if steps := _PRIORITIES.get(self.driver):
            way["priority"] = steps[options.priority]
        self._ways[job] = way

    def queues(self) -> set[str]:
        """Return in which queues messages end, by the application's own routes."""
        route = self._app.amqp.router.route
        return {str(route(way, way["name"])["queue"].name) for way in self._ways.values()}

    def send(self, messages: Sequence[Outgoing]) -> None:
        """Send messages: on Redis in one round trip for each 500, elsewhere one by one, confirmed.

        A connection that has been broken since its last use is opened again. Raises `EngineUnavailable`.
        """
        sent = 0
        connection = self._app.connection_for_write()
        errors = (OSError, KombuError, *connection.connection_errors, *connection.channel_errors)
        while sent < len(messages):
            is_old = self._existing() is not None
            try:
                for sent in self._sending(messages, sent):  # noqa: B007, B020
                    pass
            except errors as error:
                self.close()
                if not is_old or "Timeout" in type(error).__name__:
                    raise self._away(connection, error, sent) from error

    def _sending(self, messages: Sequence[Outgoing], start: int) -> Iterator[int]:
        """Send messages from `start` on; yield how many have been taken by the broker."""
        producer = self._producer()
        if not hasattr(producer, "batch") or self.driver != "redis":
            for sent, message in enumerate(messages[start:], start + 1):
                self._send(producer, message)
                yield sent
            return
        for first in range(start, len(messages), _PAGE):
            page = messages[first : first + _PAGE]
            with producer.batch(_PAGE):
                for message in page:
                    self._send(producer, message)
            yield first + len(page)

    def _send(self, producer: Any, message: Outgoing) -> None:
        self._app.send_task(
            kwargs={ARGUMENT: json.loads(message.argument)}, kwargsrepr=message.shown, producer=producer,
            retry=False, ignore_result=True, serializer="json",
            countdown=message.delay.total_seconds() or None, **self._ways[message.job],
        )  # fmt: skip

    def _existing(self) -> Any:
        """Return the producer of this thread; one from before a fork is left to the parent."""
        if getattr(self._local, "pid", None) != os.getpid():
            self._local.left, self._local.producer = getattr(self._local, "producer", None), None
            self._local.pid = os.getpid()
        return self._local.producer

    def _producer(self) -> Any:
        """Return the producer of this thread, connected."""
        producer = self._existing()
        if producer is None:
            connection = self._app.connection_for_write(
                connect_timeout=_SECONDS, transport_options=_ONCE | _TRANSPORTS.get(self.driver, {})
            )
            producer = self._local.producer = self._app.amqp.Producer(connection)
        return producer

    def _away(self, connection: Any, error: Exception, sent: int) -> EngineUnavailable:
        how = _START.get(self.driver, "").format(connection.port)
        return EngineUnavailable(
            f"the broker {connection.as_uri()} does not take jobs ({type(error).__name__}: {error})",
            fix=f"start it{f', for example with {how}' if how else ''}, or mend broker_url",
            sent=sent,
        )

    def close(self) -> None:
        """Close the connection to the broker that this thread has opened; the next use opens another one."""
        producer = self._existing()
        self._local.producer = None
        if producer is not None:
            with contextlib.suppress(Exception):  # it may be broken
                producer.connection.close()
