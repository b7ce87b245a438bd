"""The tasks of Django's: `whereupon.engines.django_tasks_jobs.shop__write_invoice` is one subscriber's.

A worker finds a task by its path, of which the last part has no dots.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from whereupon.subscribers import Subscriber

tasks: Final[dict[str, Any]] = {}
"""The tasks of the store that this process has installed."""


def task_name(subscriber: Subscriber) -> str:
    """Return the last part of the path of a subscriber's task."""
    return f"{subscriber.context}__{subscriber.name}"


def __getattr__(name: str) -> Any:
    try:
        return tasks[name]
    except KeyError:
        raise AttributeError(f"no subscriber is called {name.replace('__', '.')}") from None
