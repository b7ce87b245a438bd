"""Celery tasks of the application's own as subscribers: they stay what they are, and hear events too."""

from __future__ import annotations

import inspect
import signal
import sys
from contextvars import ContextVar
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final, NoReturn

from billiard.pool import soft_timeout_sighandler
from celery.app.task import Task
from celery.exceptions import Ignore, Retry, SoftTimeLimitExceeded
from celery.local import Proxy

from whereupon.engines import time_limits
from whereupon.engines.running import attempts
from whereupon.handling import attempts_allowed
from whereupon.outcomes import IGNORED, RetryIn
from whereupon.subscribers import Options

if TYPE_CHECKING:
    from collections.abc import Callable

    from whereupon.subscribers import Subscriber

_delivering: Final[ContextVar[bool]] = ContextVar("whereupon_delivering", default=False)
_RETRY: Final = inspect.signature(Task.retry)


def is_task(function: object) -> bool:
    """Tell whether a subscriber is a task that the application has made."""
    return isinstance(function, Task | Proxy)


def attempts_of(task: Any) -> int | None:
    """Return how many attempts the max_retries= of a task allows; None where nobody has said any.

    That is of the task itself, or of a class that it is based on, below Celery's own; or that for its
    autoretry_for, where None says nothing. Otherwise None means for ever, as with Celery.
    """
    own = takewhile(lambda each: each is not Task, type(task).__mro__)
    for said in (vars(task), *map(vars, own)):
        if "max_retries" in said:
            most = said["max_retries"]
            return sys.maxsize if most is None else most + 1
    kwargs = getattr(task, "retry_kwargs", {}) if getattr(task, "autoretry_for", ()) else {}
    return None if kwargs.get("max_retries") is None else kwargs["max_retries"] + 1


def adopt(task: Any, subscriber: Subscriber, argument: str, deliver: Callable[..., None]) -> Subscriber:
    """Let a task take wake-ups besides its other calls, and return it as what a delivery calls.

    A wake-up has one argument, by that name.

    That is the body of the task, within the request that the wake-up is. `self.retry()` and `autoretry_for`
    end the delivery's attempt, with their countdown and their max_retries; nothing is sent.
    """
    body, retry = task.run, task.retry
    most = attempts_of(task) or subscriber.options.max_attempts

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

    def retry_later(*given: Any, **named: Any) -> object:
        if _delivering.get():
            _end_attempt(task, most, _RETRY.bind(task, *given, **named).arguments)
        return retry(*given, **named)

    task.run, task.retry = run, retry_later
    return replace(subscriber, function=handle, options=replace(subscriber.options, max_attempts=most))


def _end_attempt(task: Any, most: int, said: dict[str, Any]) -> NoReturn:
    """Raise what Celery would: Retry, or where no more attempts are allowed the error that is behind it.

    The first max_retries= that is said in an attempt holds: `autoretry_for` asks once more, with its own, for
    what `self.retry()` has raised.
    """
    if attempts_allowed.get() is None and said.get("max_retries") is not None:
        attempts_allowed.set(max(1, said["max_retries"] + 1))
    exc, failed = said.get("exc"), attempts.get() + 1
    if failed >= (attempts_allowed.get() or most):
        raise exc or task.MaxRetriesExceededError(_ran_out(failed))
    when = said.get("eta") or said.get("countdown")
    raise Retry(exc=exc, when=task.default_retry_delay if when is None else when)


def _ran_out(failed: int) -> str:
    """Say what the last failure was, as it is: whoever describes this one hides the payload in it."""
    cause = sys.exception()
    reason = f", the last time by {type(cause).__name__}: {cause}" if cause else ""
    return f"it was to be tried again, and has been {failed} times{reason}"


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
    says_attempts = subscriber.options.max_attempts != Options().max_attempts
    if says_attempts and attempts_of(_task(subscriber)) is not None:
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
