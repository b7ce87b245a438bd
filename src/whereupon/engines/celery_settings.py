"""What `whereupon doctor` looks at in a Celery application, its workers and its broker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    import celery
    from kombu.connection import Connection

    from whereupon.ledger_protocol import Finding

_SECONDS: Final = 2
_PICKLES: Final = frozenset({"pickle", "application/x-python-serialize"})


def findings(app: celery.Celery, queues: set[str]) -> Iterator[Finding]:
    """Yield whether the broker answers, who consumes the subscribers' queues, and what is unsafe."""
    if app.conf.task_always_eager:
        yield "error", "task_always_eager is on: no worker would ever get a delivery; turn it off"
    if _PICKLES & set(app.conf.accept_content):
        yield (
            "warning",
            "accept_content takes pickle: who can write to the broker can run code; leave only json",
        )
    connection = app.connection_for_write(connect_timeout=_SECONDS)
    try:
        connection.ensure_connection(max_retries=1, timeout=_SECONDS)
        yield "ok", f"Celery's broker {connection.as_uri()} answers"
        yield from _of_broker(connection)
        yield from _of_workers(app, queues)
    except Exception as error:  # noqa: BLE001 - whatever is the matter, it is a finding
        yield "error", f"Celery's broker {connection.as_uri()} does not answer: {error}"
    finally:
        connection.release()


def _of_broker(connection: Connection) -> Iterator[Finding]:
    """Look at what only Redis has: whether it throws messages away when its memory is full."""
    if connection.transport.driver_type != "redis":
        return
    channel: Any = connection.default_channel
    policy = channel.client.info("memory").get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        yield (
            "error",
            f"Redis throws messages away when it is full: set maxmemory-policy noeviction, not {policy}",
        )


def _of_workers(app: celery.Celery, queues: set[str]) -> Iterator[Finding]:
    """Ask all workers which queues they consume."""
    answers: dict[str, list[dict[str, Any]]] = app.control.inspect(timeout=1.0).active_queues() or {}
    consumed = {queue["name"] for consumers in answers.values() for queue in consumers}
    if not answers:
        yield "error", "no Celery worker answers; start one: celery -A … worker"
        return
    yield "ok", f"Celery workers that answer: {len(answers)}"
    for queue in sorted(queues - consumed):
        yield "error", f"no worker consumes the queue {queue}; start one with -Q {queue}"
