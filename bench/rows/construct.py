"""Making an event and checking it, against a validator built once; and the hand-written twins."""

from __future__ import annotations

from bench.lines import Line, at_least_times, better_by
from bench.peers.validating import cached_validator
from bench.rounds import median_times
from bench.scale import Scale
from bench.shop.events import SAMPLES, Sample
from whereupon import contract_of

_GOALS = {"2 fields": (12, 20), "12 fields": (40, 60), "200 ints": (200, 300)}


def measure(scale: Scale) -> list[Line]:
    """Measure payloads of three sizes."""
    return [line for sample in SAMPLES for line in _lines(sample, scale.rounds_of(15))]


def _lines(sample: Sample, rounds: int) -> list[Line]:
    event, values = sample.event, sample.values
    by_hand, plain = sample.by_hand, sample.plain
    validate = cached_validator(contract_of(event).schema)
    times = median_times(
        {
            "annotated": lambda: event(**values),
            "by hand": lambda: by_hand(plain),
            "peer": lambda: validate(plain),
        },
        rounds,
    )
    return [
        Line(
            name=f"construct + validate, {sample.title}",
            ours=times["annotated"],
            against="jsonschema",
            theirs=times["peer"],
            ratio=better_by(times["annotated"], times["peer"]),
            goals=at_least_times(*_GOALS[sample.title]),
        ),
        Line(
            name=f"construct, hand-written schema, {sample.title}",
            ours=times["by hand"],
            against="jsonschema",
            theirs=times["peer"],
            ratio=better_by(times["by hand"], times["peer"]),
        ),
    ]
