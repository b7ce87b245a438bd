"""The tasks of Django: `whereupon.engines.django_tasks_jobs.shop:write_invoice` is that of one subscriber.

A worker imports a task by its path, up to the last dot, so each subscriber has one here, under its own
stable name. They are there once the store is installed, which the worker's start of Django does.
"""

from __future__ import annotations

from typing import Any, Final

PATH: Final = f"{__name__}."
"""With what the paths of all of our tasks begin."""
tasks: Final[dict[str, Any]] = {}
"""The task of each subscriber of the store that this process has installed, by the last part of its path."""


def __getattr__(name: str) -> Any:
    try:
        return tasks[name]
    except KeyError:
        raise AttributeError(f"no subscriber is called {name.replace(':', '.')}") from None
