"""Making an event again in the worker: decode the payload and check it."""

from __future__ import annotations

import json

from bench.lines import Line, at_least_times, better_by
from bench.peers.validating import cached_validator
from bench.rounds import median_times
from bench.scale import Scale
from bench.shop.events import SAMPLES, Sample
from whereupon import codec, contract_of, payload_of
from whereupon.events import rebuild

_GOALS = {"2 fields": (15, 30), "12 fields": (30, 60), "200 ints": (100, 280)}


def measure(scale: Scale) -> list[Line]:
    """Measure payloads of three sizes."""
    return [_line(sample, scale.rounds_of(15)) for sample in SAMPLES]


def _line(sample: Sample, rounds: int) -> Line:
    contract = contract_of(sample.event)
    validate = cached_validator(contract.schema)
    raw = codec.encode(payload_of(sample.made()))
    text = raw.decode()
    times = median_times(
        {
            "ours": lambda: rebuild(contract, codec.decode(raw)),
            "peer": lambda: validate(json.loads(text)),
        },
        rounds,
    )
    return Line(
        name=f"rebuild in the worker, {sample.title}",
        ours=times["ours"],
        against="json + jsonschema",
        theirs=times["peer"],
        ratio=better_by(times["ours"], times["peer"]),
        goals=at_least_times(*_GOALS[sample.title]),
    )
