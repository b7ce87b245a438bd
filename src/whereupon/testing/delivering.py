"""Delivering what a test has published, until nothing is left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from whereupon.publishing import current_store
from whereupon.testing.consuming import arun, calls_for, claim_of, finished, run
from whereupon.testing.recording import Recorded, Recorder, current_recorder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from whereupon.deliveries import Claim, NewDelivery
    from whereupon.handling import Call

_DEPTH = 1000


def deliver_all() -> int:
    """Deliver what was published in this test and has not been delivered, and what that publishes in turn.

    Delays are not waited for, and the subscribers of events that were rolled back are not called. What a
    subscriber raises passes through. Returns how many deliveries were handled. Used inside `published`.
    """
    __tracebackhide__ = True
    return sum(_deliver(recorder, call, on) for recorder, call, on in _calls())


async def adeliver_all() -> int:
    """Deliver from a coroutine what was published in this test; see `deliver_all`."""
    __tracebackhide__ = True
    count = 0
    for recorder, call, on in _calls():
        await arun(recorder, call, on)
        count += len(call.prepared)
    return count


def _deliver(recorder: Recorder, call: Call, on: object | None) -> int:
    if call.subscription.subscriber.is_async:
        finished(arun(recorder, call))
    else:
        run(recorder, call, on)
    return len(call.prepared)


def _calls() -> Iterator[tuple[Recorder, Call, object | None]]:
    """Yield the calls to make, looking again after each for what it has published."""
    recorder = current_recorder()
    if recorder is None:
        raise AssertionError("deliver_all() works inside published(): use the fixture or the context manager")
    for _ in range(_DEPTH):
        group = _next_group(recorder)
        if not group:
            return
        recorder.delivered.update((each.envelope.id, delivery.subscription) for each, delivery in group)
        first, delivery = group[0]
        subscription = current_store().routes.by_id[delivery.subscription]
        claims: list[Claim] = [
            claim_of(each.subscription, recorded.envelope, recheck=each.recheck) for recorded, each in group
        ]
        for call in calls_for(subscription, claims):
            yield recorder, call, _still_open(recorder, first)
    raise AssertionError(
        f"{_DEPTH} jobs were delivered and there is still more: do subscribers answer each other?"
    )


def _next_group(recorder: Recorder) -> list[tuple[Recorded, NewDelivery]]:
    """Return the deliveries of the next job: those with the shortest delay first, a group together."""
    open_ones = [
        (recorded, delivery)
        for recorded in recorder.recorded
        for delivery in recorded.deliveries
        if (recorded.envelope.id, delivery.subscription) not in recorder.delivered
    ]
    if not open_ones:
        return []
    first = min(open_ones, key=lambda pair: pair[1].delay)
    if first[1].group is None:
        return [first]
    return [pair for pair in open_ones if pair[1].group == first[1].group]


def _still_open(recorder: Recorder, recorded: Recorded) -> object | None:
    """Return what an event was published on whose transaction is open: an atomic subscriber runs in it."""
    return recorded.on if recorder.lend(recorded.on, recorded.fate()) else None
