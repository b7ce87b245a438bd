"""The jobs of RQ: `whereupon.engines.rq_jobs.shop.write_invoice` is what a worker runs for that subscriber.

RQ finds a job's function by its path, so each subscriber has one here, under its own stable name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

functions: Final[dict[str, Callable[..., None]]] = {}
"""What is run for each subscriber of the store that this process has installed."""


def __getattr__(name: str) -> Callable[..., None]:
    try:
        return functions[name]
    except KeyError:
        raise AttributeError(f"no subscriber is called {name}") from None
