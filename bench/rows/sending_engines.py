"""Wake-ups for 1, 5 and 20 subscribers in one call, against jobs of the team's own sent in a loop."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable
from functools import partial

from bench.engines import ENGINES, Measured, Send
from bench.lines import Line, better_by
from bench.redis_server import on_our_core
from bench.rounds import shuffled
from bench.scale import Scale
from bench.shop.event_store import fanning_out_on
from whereupon.engine_protocol import Engine, WakeUp

_SIZES = (1, 5, 20)
_Key = tuple[str, int]


def measure(name: str, scale: Scale) -> list[Line]:
    """Send, in turns, what ours sends for so many subscribers and what a loop sends."""
    measured = ENGINES[name]
    with on_our_core(), measured.broker() as broker:
        engine, send = measured.sending(broker)
        wake_ups = [
            WakeUp(number, each.subscriber)
            for number, each in enumerate(fanning_out_on(engine, max(_SIZES)).routes)
        ]
        candidates: dict[_Key, Callable[[], object]] = {("ping", 0): measured.ping(broker)}
        for size in _SIZES:
            candidates["ours", size] = partial(engine.enqueue, wake_ups[:size])
            candidates["loop", size] = partial(_loop, send, size)
        times: dict[_Key, list[float]] = {key: [] for key in candidates}
        for key in shuffled(tuple(candidates), scale.rounds_of(11) + 1):
            times[key].append(_median_of(candidates[key], scale.size(40, 3)))
        _close(engine)
    # the first round makes connections and is not counted
    medians = {key: statistics.median(each[1:]) for key, each in times.items()}
    return [_line(measured, size, medians) for size in _SIZES]


def _loop(send: Send, size: int) -> None:
    for place in range(size):
        send(place)


def _close(engine: Engine) -> None:
    with contextlib.suppress(Exception):
        engine.close()


def _median_of(function: Callable[[], object], calls: int) -> float:
    times: list[float] = []
    for _ in range(calls):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def _line(measured: Measured, size: int, medians: dict[_Key, float]) -> Line:
    ours, loop = medians["ours", size], medians["loop", size]
    return Line(
        name=f"wake-ups for {size} to {measured.title}",
        ours=ours,
        against=f"{measured.call} in a loop",
        theirs=loop,
        ratio=better_by(ours, loop),
        note=f"in the relay, never in the publisher; an answer takes {medians['ping', 0] * 1e6:.0f} µs;"
        f" server and sender on one core{measured.unlike}",
        details={"ping": medians["ping", 0]},
    )
