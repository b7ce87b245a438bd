"""Celery tasks of the application's own as subscribers: they stay what they are, and hear events too."""

from __future__ import annotations

import signal
import sys
from contextvars import ContextVar
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NoReturn

from billiard.pool import soft_timeout_sighandler
from celery.app.task import Task
from celery.exceptions import Ignore, Retry, SoftTimeLimitExceeded
from celery.local import Proxy

from whereupon.engines import time_limits
from whereupon.engines.running import attempts
from whereupon.outcomes import IGNORED, RetryIn
from whereupon.subscribers import Options

if TYPE_CHECKING:
    from collections.abc import Callable

    from whereupon.subscribers import Subscriber

_delivering: Final[ContextVar[bool]] = ContextVar("whereupon_delivering", default=False)


def is_task(function: object) -> bool:
    """Tell whether a subscriber is a task that the application has made."""
    return isinstance(function, Task | Proxy)


def limits_retries(task: Any) -> bool:
    """Tell whether a task says max_retries= itself."""
    return "max_retries" in type(task).__dict__


def adopt(task: Any, subscriber: Subscriber, argument: str, deliver: Callable[..., None]) -> Subscriber:
    """Let a task take wake-ups besides its other calls, and return it as what a delivery calls.

    A wake-up has one argument, by that name.

    That is the body of the task, within the request that the wake-up is. `self.retry()` and `autoretry_for`
    end the delivery's attempt, with their countdown; nothing is sent. `max_retries` of the task holds.
    """
    body, retry = task.run, task.retry

    def run(*given: Any, **named: Any) -> object:
        if given or list(named) != [argument]:
            return body(*given, **named)
        deliver(**named)
        return None

    def handle(*arguments: Any) -> object:
        token = _delivering.set(True)
        task.request.retries = attempts.get()
        try:
            return body(*arguments)
        except Retry as again:
            raise RetryIn(_delay(again.when)) from again.exc or again
        except Ignore:
            return IGNORED
        finally:
            _delivering.reset(token)

    def retry_later(*given: Any, exc: Exception | None = None, **named: Any) -> NoReturn:
        if not _delivering.get():
            retry(*given, exc=exc, **named)
        when = named.get("eta") or named.get("countdown")
        raise Retry(exc=exc, when=task.default_retry_delay if when is None else when)

    task.run, task.retry = run, retry_later
    options = subscriber.options
    if limits_retries(task):
        most = sys.maxsize if task.max_retries is None else task.max_retries + 1
        options = replace(options, max_attempts=most)
    return replace(subscriber, function=handle, options=options)


def limited(subscriber: Subscriber, timeout: timedelta) -> Subscriber:
    """Return a subscriber whose calls end in time where Celery could end them: in processes of prefork."""
    function = subscriber.function
    in_time = time_limits.limited(function, timeout, SoftTimeLimitExceeded)

    def run(*arguments: Any) -> object:
        has_limits = signal.getsignal(signal.SIGUSR1) is soft_timeout_sighandler
        return in_time(*arguments) if has_limits else function(*arguments)

    return replace(subscriber, function=run)


def fault_of(subscriber: Subscriber) -> str:
    """Say what is contradictory in a task that is a subscriber; empty where nothing is."""
    if limits_retries(_task(subscriber)) and subscriber.options.max_attempts != Options().max_attempts:
        return "says max_retries= as a task and max_attempts= as a subscriber; take one of them away"
    return ""


def is_given_back(subscriber: Subscriber) -> bool:
    """Tell whether a message of a task comes back when the process dies that runs it."""
    task = _task(subscriber)
    return bool(task.acks_late and task.reject_on_worker_lost)


def _task(subscriber: Subscriber) -> Any:
    """Return the task itself, which `shared_task` and lazy applications hide behind a proxy.

    It may be that of another application: a proxy looks for the current one of the thread.
    """
    function: Any = subscriber.function
    return function._get_current_object() if isinstance(function, Proxy) else function  # noqa: SLF001 - Celery's


def _delay(when: Any) -> timedelta:
    if isinstance(when, datetime):
        moment = when if when.tzinfo else when.replace(tzinfo=UTC)
        return max(timedelta(0), moment - datetime.now(UTC))
    return timedelta(seconds=float(when or 0))
