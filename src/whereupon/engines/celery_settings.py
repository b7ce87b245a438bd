"""What is looked at in the settings of a Celery application, in its workers and in its broker."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

from celery.app.routes import Router, prepare
from celery.exceptions import QueueNotFound

from whereupon.engines.celery_sending import connection_to, reason_of, way_to_start
from whereupon.engines.celery_tasks import is_task
from whereupon.engines.jobs import DEFAULT_QUEUE, job_name
from whereupon.errors import InvalidConfiguration, InvalidSubscriber
from whereupon.naming import suggestion

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import celery
    from kombu.connection import Connection

    from whereupon.ledger_protocol import Finding
    from whereupon.subscribers import Subscriber

_TRANSIENT: Final = frozenset({1, "transient"})
_PICKLES: Final = frozenset({"pickle", "application/x-python-serialize"})


def queue_of(subscriber: Subscriber) -> str | None:
    """Return the queue that a subscriber names, or the task that it is; None for the application's own."""
    if subscriber.options.queue != DEFAULT_QUEUE:
        return subscriber.options.queue
    return getattr(subscriber.function, "queue", None) if is_task(subscriber.function) else None


def queue_faults(app: celery.Celery, subscriber: Subscriber) -> Iterator[InvalidSubscriber]:
    """Yield that nobody knows the queue of a subscriber, where the application lists its queues."""
    if app.conf.task_create_missing_queues:
        return
    known = app.amqp.Queues(app.conf.task_queues)
    try:
        _route(app, known, subscriber)
    except QueueNotFound as error:
        names = [*known, *known.aliases]
        yield InvalidSubscriber(
            f"Celery does not know the queue of {subscriber.name}: {error.args[0]}"
            f"{suggestion(queue_of(subscriber) or '', names)}",
            where=subscriber.where,
            fix="add the queue to task_queues, or let task_create_missing_queues be True",
        )


def _route(app: celery.Celery, queues: Any, subscriber: Subscriber) -> dict[str, Any]:
    """Return where the application sends a subscriber's messages; nothing where its own function cannot say.

    Its settings are read anew, as they may change until it starts. Raises `QueueNotFound`.
    """
    queue: str | None = queue_of(subscriber)
    function: Any = subscriber.function
    name = function.name if is_task(function) else job_name(subscriber)
    router = Router(prepare(app.conf.task_routes), queues, app=app)
    try:
        return dict(router.route({"queue": queue} if queue else {}, name))
    except QueueNotFound:
        raise
    except Exception:  # noqa: BLE001 - a function of the application's own, which was not made for this
        return {}


def losses(app: celery.Celery, subscribers: Iterable[Subscriber]) -> Iterator[InvalidConfiguration]:
    """Yield what of the subscribers' queues RabbitMQ drops when it, or the last worker, ends."""
    known = app.amqp.Queues(app.conf.task_queues)
    found: dict[str, str] = {}
    for each in subscribers:
        with contextlib.suppress(QueueNotFound):  # which is a fault of its own
            found |= dict(_losses(app, _route(app, known, each)))
    for problem, fix in found.items():
        yield InvalidConfiguration(problem, fix=fix)


def _losses(app: celery.Celery, route: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with where messages go, and what to do."""
    queue = route.get("queue")
    if queue is None:
        return
    if not queue.durable or queue.auto_delete:
        what, ends = ("not durable", "RabbitMQ") if not queue.durable else ("auto_delete", "its last worker")
        yield (
            f"the queue {queue.name} is {what}, so it is gone with all events in it when {ends} ends",
            "leave durable= and auto_delete= of it out in task_queues, and delete it once in RabbitMQ",
        )
    own = route.get("delivery_mode") or queue.exchange.delivery_mode
    if (own or app.conf.task_default_delivery_mode) in _TRANSIENT:
        setting = "delivery_mode of the queue or route" if own else "task_default_delivery_mode"
        yield (
            f"messages for the queue {queue.name} are transient, so they are gone when RabbitMQ ends",
            f'set {setting} to "persistent"',
        )


def findings(app: celery.Celery, driver: str, queues: set[str]) -> Iterator[Finding]:
    """Yield whether the broker answers, who consumes the subscribers' queues, and what is unsafe."""
    if app.conf.task_always_eager:
        yield "error", "task_always_eager is on: no worker would ever get a delivery; turn it off"
    if _PICKLES & set(app.conf.accept_content):
        yield (
            "warning",
            "accept_content takes pickle: who can write to the broker can run code; leave only json",
        )
    connection = connection_to(app, driver)
    place = f"Celery's broker {connection.as_uri()}"
    try:
        channel: Any = connection.default_channel  # which connects
        yield "ok", f"{place} answers"
        if driver == "redis":
            yield from _of_redis(channel)
        yield from _of_workers(app, connection, queues)
    except Exception as error:  # noqa: BLE001 - whatever is the matter, it is a finding
        connection.collect()  # type: ignore[no-untyped-call] # without waiting for it
        yield "error", f"{place} does not answer ({reason_of(error)}): {way_to_start(driver)}"
    finally:
        connection.release()  # type: ignore[no-untyped-call]


def _of_redis(channel: Any) -> Iterator[Finding]:
    """Look at what only Redis has: whether it throws messages away when its memory is full."""
    policy = channel.client.info("memory").get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        yield (
            "error",
            f"Redis throws messages away when it is full: set maxmemory-policy noeviction, not {policy}",
        )


def _of_workers(app: celery.Celery, connection: Connection, queues: set[str]) -> Iterator[Finding]:
    """Ask all workers which queues they consume."""
    answers = _ask(app, connection, "active_queues")
    consumed = {queue["name"] for consumers in answers.values() for queue in consumers}
    if not answers:
        yield "error", "no Celery worker answers; start one: celery -A … worker"
        return
    yield "ok", f"Celery workers that answer: {len(answers)}"
    for queue in sorted(queues - consumed):
        yield "error", f"no worker consumes the queue {queue}; start one with -Q {queue}"


def _ask(app: celery.Celery, connection: Connection, question: str) -> dict[str, list[dict[str, Any]]]:
    """Return what each worker answers within a second.

    `app.control.inspect` would ask through connections of the application, on which it may wait for ever.
    """
    control: Any = type(app.control)(app)
    control.mailbox.producer_pool = None
    answers = control.broadcast(question, reply=True, timeout=1.0, connection=connection) or ()
    return {worker: answer for each in answers for worker, answer in each.items()}
