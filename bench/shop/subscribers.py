"""Handlers that do nothing, but for one that says when it began."""

from __future__ import annotations

from collections.abc import Callable

from bench.marks import marks
from bench.shop.events import PipelineCreated
from whereupon import subscriber


@subscriber
def note(event: PipelineCreated) -> None:
    """Mark the place that the event names."""
    marks().mark(event.pipeline_id)


def silent(number: int) -> Callable[[PipelineCreated], None]:
    """Make one of many subscribers of the same event."""

    @subscriber(name=f"silent_{number}")
    def hear(event: PipelineCreated) -> None:
        """Do nothing."""

    return hear
