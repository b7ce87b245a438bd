"""Celery without a ledger: messages carry the events, are acknowledged late, and the promise is Celery's own.

Numbers: on Redis a message that is not acknowledged within `visibility_timeout` (one hour if not set) is
given to another worker, though the first may still hold it back or run it. So a delay or backoff and the run
of the handler must fit into it together: the span for delays is half of what `timeout=` leaves. On RabbitMQ
the server closes the channel of a worker that holds a message for more than `consumer_timeout` (thirty
minutes if not set); Celery cannot see that setting, so the span is ten minutes.
"""

from __future__ import annotations

import logging
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from celery import current_task
from celery.exceptions import Reject, SoftTimeLimitExceeded

from whereupon.codec import encode
from whereupon.engines import celery_settings, celery_tasks
from whereupon.engines.celery_sending import Outgoing
from whereupon.engines.jobs import calls_of, job_name, jobs_of
from whereupon.engines.receiving import argument_of, id_of
from whereupon.errors import EngineUnavailable, InvalidConfiguration, InvalidSubscriber, WhereuponError
from whereupon.subscriptions import location

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import celery

    from whereupon.engine_protocol import Message
    from whereupon.engines.jobs import Job
    from whereupon.engines.receiving import Received, Receiver
    from whereupon.ledger_protocol import Finding
    from whereupon.subscriptions import Subscription

    HandOff = Callable[[Sequence[Message], None], None]

PROMISE: Final = (
    "Celery's own: what the broker has taken is handled at least once, unless the broker loses it or a "
    "worker gets it that does not know its task; an event whose last attempt fails is a failed task"
)
OPTIONS: Final[dict[str, Any]] = {
    "acks_late": True,
    "reject_on_worker_lost": True,
    "retry_on_worker_lost": False,
    "acks_on_failure_or_timeout": True,
    "acks_on_failure": True,
    "acks_on_timeout": True,
}
"""A message is given back when the process that handles it dies, and not when the task fails."""

PATIENCE = timedelta(seconds=30)
"""How long a task that has acknowledged its message tries to send what is to be tried again."""
_HARD: Final = timedelta(seconds=10)  # above the time limits of all calls, until Celery kills the process
SOFT: Final = timedelta(seconds=5)  # before that, Celery interrupts what has no limit of a call
_VISIBILITY: Final = timedelta(hours=1)  # kombu's own default
_CONSUMER_TIMEOUT: Final = timedelta(minutes=30)  # RabbitMQ's own default
_RABBITMQ_SPAN: Final = timedelta(minutes=10)
_NOWHERE: Final = "memory"  # a broker for tests: nobody else can reach it
_PAUSE: Final = 1.0  # seconds before a message is given back, or sent, that could not be sent again
_LONGEST_PAUSE: Final = 5.0
_PICKLES: Final = frozenset({"pickle", "application/x-python-serialize", "yaml", "application/x-yaml"})

_log = logging.getLogger("whereupon.publish")


def outgoing(app: celery.Celery, driver: str, message: Message) -> Outgoing:
    """Write a message for Celery. A longer delay than it holds safely is cut to what it does."""
    delay, subscriber = message.delay, message.subscriber
    if delay:
        calls = 1 if subscriber.takes_list else len(message.envelopes)
        delay = min(delay, span(app, driver, longest(subscriber.options.timeout, calls)))
    argument = encode(argument_of(message)).decode()
    return Outgoing(job_name(subscriber), argument, message.subscription, delay)


def receive(receiver: Receiver, hand_off: HandOff, message: Message, job: Job) -> None:
    """Handle a message within its task, and send again what is to be tried again.

    Raises `DeliveryFailed` where events are set aside, and Reject, which gives the message back, where
    nothing can be sent or a time limit strikes outside the subscriber. A task of the team's own that has
    acknowledged its message fails instead, the former when it has tried for half a minute.
    """
    is_held = bool(current_task.acks_late)
    try:
        found = receiver.receive(message, job.subscriptions)
        _send_again(hand_off, found, is_held=is_held)
    except SoftTimeLimitExceeded as error:
        if is_held:
            raise Reject(error, requeue=True) from error
        raise
    if found.parked:
        raise found.error(job.name)


def _send_again(hand_off: HandOff, found: Received, *, is_held: bool) -> None:
    """Send what is to be tried again. What cannot be sent comes back with its message, if that is held."""
    gives_up, pause = time.monotonic() + PATIENCE.total_seconds(), _PAUSE
    while found.again:
        try:
            hand_off(found.again, None)
            break
        except EngineUnavailable as error:
            del found.again[: error.sent]
            if is_held:
                time.sleep(_PAUSE)
                raise Reject(error, requeue=True) from error
            if time.monotonic() + pause > gives_up:
                ids = ", ".join(id_of(text) for each in found.again for text in each.envelopes)
                found.parked.append(f"unsent: {error.problem} (event {ids})")
                break
            _log.warning("what is to be tried again is sent later: %s", error.problem)
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def span(app: celery.Celery, driver: str, runs_for: timedelta) -> timedelta:
    """Return for how long a message can be held back without being given to somebody else."""
    if driver != "redis":
        return _RABBITMQ_SPAN
    return max(timedelta(0), visibility_timeout(app) - runs_for) / 2


def visibility_timeout(app: celery.Celery) -> timedelta:
    """Return after what time Redis gives a message to another worker that was not acknowledged."""
    options = app.connection_for_write().transport_options or {}
    return timedelta(seconds=float(options.get("visibility_timeout", _VISIBILITY.total_seconds())))


def longest(timeout: timedelta | None, calls: int) -> timedelta:
    """Return after what time a message with so many calls has ended for sure; zero where nothing ends it."""
    return timedelta(0) if timeout is None else timeout * calls + _HARD


def refuse_nobody(app: celery.Celery, driver: str) -> None:
    """Raise `InvalidConfiguration` where what is sent could reach no worker."""
    if app.conf.task_always_eager or driver == _NOWHERE:
        what = "the broker is memory://" if driver == _NOWHERE else "task_always_eager is on"
        raise InvalidConfiguration(
            f"{what}, so no worker would ever get an event",
            fix="set a broker; in tests record what is published with whereupon.testing",
        )


def faults(
    app: celery.Celery, driver: str, subscriptions: Sequence[Subscription]
) -> Iterator[WhereuponError]:
    """Yield delays that cannot be held safely, and settings that would lose or repeat events."""
    yield from _setting_faults(app, driver)
    if driver == "amqp":
        yield from celery_settings.losses(app, [each.subscriber for each in subscriptions])
    for each in subscriptions:
        subscriber, calls = each.subscriber, calls_of(each)
        if driver == "redis" and longest(subscriber.options.timeout, calls) >= visibility_timeout(app):
            yield InvalidSubscriber(
                f"{subscriber.name} may run longer than the visibility_timeout of Redis "
                f"({visibility_timeout(app)}), so a second worker would run it too",
                where=location(each),
                fix="raise visibility_timeout in broker_transport_options, or lower timeout=",
            )
        elif each.delay > (held := span(app, driver, longest(subscriber.options.timeout, calls))):
            yield InvalidSubscriber(
                f"{each.id} waits for {each.delay}, and Celery holds a message safely for {held}",
                where=location(each),
                fix="give the store a ledger=, in which delays of any length are safe",
            )


def _setting_faults(app: celery.Celery, driver: str) -> Iterator[WhereuponError]:
    if driver not in {"redis", "amqp", _NOWHERE}:
        yield InvalidConfiguration(
            f"the broker of Celery is of the kind {driver}, about whose losses nothing is known",
            fix="use Redis or RabbitMQ, or give the store a ledger=",
        )
    accepted = set(app.conf.accept_content or ())
    if not accepted & {"json", "application/json"}:
        yield InvalidConfiguration(
            "accept_content of Celery leaves json out, so its workers would refuse every event",
            fix='accept_content = ["json"]',
        )
    if accepted & _PICKLES:
        yield InvalidConfiguration(
            "accept_content of Celery allows pickle or yaml, so who reaches the broker can run any code",
            fix='accept_content = ["json"]',
        )


def overridden(app: celery.Celery, jobs: Sequence[Job]) -> Iterator[InvalidConfiguration]:
    """Yield which options of our tasks, now that they are made, the settings of the application changed."""
    tasks = [app.tasks[each.name] for each in jobs if not celery_tasks.is_task(each.subscriber.function)]
    for option, value in OPTIONS.items():
        if names := [each.name for each in tasks if getattr(each, option) != value]:
            yield InvalidConfiguration(
                f"task_annotations of Celery change {option} of {', '.join(names)}, which loses events",
                fix=f'leave {option} out there, or name your own tasks instead of "*"',
            )


def findings(app: celery.Celery, driver: str, subscriptions: Sequence[Subscription]) -> Iterator[Finding]:
    """Yield what may surprise a team whose events Celery carries alone."""
    for job in jobs_of(subscriptions):
        name, each = job.name, job.subscriber
        timeout = each.options.timeout
        if timeout is None:
            yield "warning", f"{name} has no timeout=: one that hangs holds its worker for ever"
        elif driver == "amqp" and longest(timeout, job.calls) + _RABBITMQ_SPAN > _CONSUMER_TIMEOUT:
            runs_for = timeout * job.calls
            yield "warning", f"{name} may run for {runs_for}: raise consumer_timeout of RabbitMQ above that"
        elif driver == "redis":
            yield from _of_fetching(app, name, longest(timeout, job.calls))
        if celery_tasks.is_task(each.function) and not celery_tasks.is_given_back(each):
            yield "warning", _of_early_task(name, each.function)


def _of_fetching(app: celery.Celery, name: str, runs_for: timedelta) -> Iterator[Finding]:
    """Yield that a message may wait for too long in the worker that has fetched it: Redis counts from then.

    In each process those run first that were fetched before; a retry, which is not among them, comes last.
    """
    limit = visibility_timeout(app)
    fetched = 1 if app.conf.get("worker_disable_prefetch") else app.conf.worker_prefetch_multiplier
    if fetched and runs_for * (fetched + 1) <= limit:
        return
    way = f"raise it above {runs_for * ((fetched or 1) + 1)}"
    if fetched != 1:
        way = f"set worker_prefetch_multiplier = 1, or {way}"
    text = (
        f"{name} may run for {runs_for}, and a worker fetches {fetched or 'any number'} for each process: "
        f"under load some wait longer than visibility_timeout ({limit}) and are handled twice"
    )
    yield "warning", f"{text}; {way}"


def _of_early_task(name: str, task: Any) -> str:
    text = f"{name} is your own task without acks_late and reject_on_worker_lost: a kill loses events"
    return text if task.acks_late else f"{text}, a broker that is away for {PATIENCE.seconds} s loses retries"
