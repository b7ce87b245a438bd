"""Words for a failed comparison of what was published with what a test expected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from whereupon.events import BaseEvent
from whereupon.testing.expecting import Expected, fields_of, nearest
from whereupon.testing.recording import Published

if TYPE_CHECKING:
    from collections.abc import Sequence


def explain_comparison(left: Any, right: Any) -> list[str] | None:
    """Explain `published == wanted`; None when the comparison is about something else."""
    if not isinstance(left, Published) or not isinstance(right, list | tuple):
        return None
    lines = ["published == expected", "published:", *_listed(left)]
    if left.waiting:
        lines.append(f"  ({left.waiting} of them waiting for the transaction to be committed)")
    return [*lines, "expected:", *_listed(right), *_differences(left, right)]


def _listed(events: Sequence[object]) -> list[str]:
    return [f"  {event!r}" for event in events] or ["  nothing"]


def _differences(events: Published, wanted: Sequence[object]) -> list[str]:
    lines: list[str] = []
    for each in wanted:
        matcher = Expected(type(each), fields_of(each)) if isinstance(each, BaseEvent) else each
        if isinstance(matcher, Expected) and not any(matcher == event for event in events):
            miss = nearest(matcher, events)
            lines += [] if miss is None else [f"nearest to {each!r}:", *(f"  {line}" for line in miss[1])]
    return lines
