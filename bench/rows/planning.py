"""Who hears an event: the plan for 20 subscriptions, against a signal with 20 receivers."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from bench.lines import Line, at_least_times, better_by
from bench.peers.signalling import signal_with_receivers
from bench.rounds import median_times
from bench.scale import Scale
from bench.shop.event_store import fanning_out
from bench.shop.events import SAMPLES
from whereupon import SQLiteLedger

_COUNT = 20


def measure(scale: Scale) -> list[Line]:
    """Measure `plan`, which writes nothing, and `send`, whose receivers do nothing."""
    event = SAMPLES[0].made()
    store = fanning_out(SQLiteLedger(Path("never-opened.sqlite3")), _COUNT)
    times = median_times(
        {
            "plan": partial(store.plan, event),
            "send": signal_with_receivers(_COUNT, event, use_caching=False),
            "cached": signal_with_receivers(_COUNT, event, use_caching=True),
        },
        scale.rounds_of(15),
    )
    return [
        Line(
            name=f"plan for {_COUNT} subscriptions",
            ours=times["plan"],
            against="Signal.send",
            theirs=times["send"],
            ratio=better_by(times["plan"], times["send"]),
            note="plan writes nothing; the receivers of the signal run and do nothing",
            goals=at_least_times(15, 40),
        ),
        Line(
            name=f"plan for {_COUNT} subscriptions, caching signal",
            ours=times["plan"],
            against="use_caching=True",
            theirs=times["cached"],
            ratio=better_by(times["plan"], times["cached"]),
        ),
    ]
