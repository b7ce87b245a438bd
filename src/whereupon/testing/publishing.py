"""Asserting that a block publishes what it should, and nothing else."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from whereupon.testing.expecting import Expected, expected, nearest
from whereupon.testing.recording import Published, published

if TYPE_CHECKING:
    from collections.abc import Iterator

    from whereupon.events import BaseEvent


@contextlib.contextmanager
def publishes(event: type[BaseEvent], /, *, only: bool = False, **values: Any) -> Iterator[Published]:
    """Assert that the block publishes exactly one event of this class with these values.

    Fields that are not named equal their default. Other events are allowed unless `only` is true. A field
    that is itself called `only` is named through `expected` and `published`.
    """
    __tracebackhide__ = True
    wanted = expected(event, **values)
    with published() as events:
        yield events
    count = sum(wanted == each for each in events)
    if count == 1 and not (only and len(events) > 1):
        return
    raise AssertionError(_explain(wanted, events, count, only=only))


@contextlib.contextmanager
def publishes_nothing() -> Iterator[Published]:
    """Assert that the block publishes no event at all."""
    __tracebackhide__ = True
    with published() as events:
        yield events
    if events:
        raise AssertionError(f"expected no event to be published{listed(events)}")


def _explain(wanted: Expected, events: Published, count: int, *, only: bool) -> str:
    head = f"expected {'only ' if only else ''}one event to be published:\n  {wanted!r}"
    if count > 1:
        return f"{head}\nbut it was published {count} times{listed(events)}"
    if count == 1:
        return f"{head}\nbut others were published too{listed(events)}"
    return head + listed(events) + near_miss(wanted, events)


def listed(events: Published) -> str:
    """List what was published, and say whether it waits for a commit."""
    if not events:
        return "\nnothing was published"
    lines = "".join(f"\n  {event!r}" for event in events)
    waiting = (
        f"\n({events.waiting} of them waiting for the transaction to be committed)" if events.waiting else ""
    )
    return f"\npublished:{lines}{waiting}"


def near_miss(wanted: Expected, events: Published) -> str:
    """Say how the nearest event of the same class differs."""
    miss = nearest(wanted, events)
    return "" if miss is None else f"\nthe nearest: {'; '.join(miss[1])}"
