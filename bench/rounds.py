"""Interleaved rounds: every candidate runs once in each round, in shuffled order; medians count."""

from __future__ import annotations

import random
import statistics
import time
import timeit
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

_SAMPLE = 0.02  # seconds that one sample of a fast function takes, roughly
_T = TypeVar("_T")


def shuffled(candidates: Sequence[_T], rounds: int) -> Iterator[_T]:
    """Yield every candidate once in each round, in an order that changes from round to round."""
    for _ in range(rounds):
        yield from random.sample(candidates, len(candidates))


def median_times(candidates: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median time of one call of each candidate, in seconds of processor time.

    Nothing here waits, so processor time leaves out only what other programs of the machine took away. The
    cyclic collector is off while timing, as `timeit` has it.
    """
    timers = {name: timeit.Timer(function, timer=time.process_time) for name, function in candidates.items()}
    counts = {name: _calls_per_sample(timer) for name, timer in timers.items()}
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for name in shuffled(tuple(candidates), rounds):
        times[name].append(timers[name].timeit(counts[name]) / counts[name])
    return {name: statistics.median(each) for name, each in times.items()}


def _calls_per_sample(timer: timeit.Timer) -> int:
    count = 1
    while (spent := timer.timeit(count)) < _SAMPLE / 4:
        count *= 2
    return max(1, round(count * _SAMPLE / spent))


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which a share of the values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
