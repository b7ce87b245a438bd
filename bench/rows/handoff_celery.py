"""Publishing without a ledger: an event handed to Celery on Redis, against `.delay()` for each subscriber."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from bench.lines import Line, at_least_times, better_by
from bench.peers import import_peer
from bench.redis import connect, redis_on_our_core
from bench.rounds import shuffled
from bench.scale import Scale
from bench.shop.event_store import handing_off, installed
from bench.shop.events import SAMPLES
from whereupon import EventStore, publish

_GOALS = {1: at_least_times(2.5, 3.5), 5: at_least_times(8, 15), 20: at_least_times(20, 38)}
_Key = tuple[str, int]


def measure(scale: Scale) -> list[Line]:
    """Publish one event, some times in each round; the peer sends its payload as plain data."""
    with redis_on_our_core() as port:
        client, url = connect(port), f"redis://127.0.0.1:{port}/0"
        candidates: dict[_Key, Callable[[], object]] = {("ping", 0): client.ping}
        stores = {count: handing_off(url, count) for count in _GOALS}
        for count, store in stores.items():
            candidates["ours", count] = partial(_ours, store)
            candidates["peer", count] = partial(_peer, _tasks(url, count))
        times: dict[_Key, list[float]] = {key: [] for key in candidates}
        for key in shuffled(tuple(candidates), scale.rounds_of(11) + 1):
            times[key].append(_median_of(candidates[key], scale.size(40, 3)))
            client.flushall()
        client.close()
        for store in stores.values():
            if store.engine is not None:
                store.engine.close()
    # the first round makes connections and is not counted
    medians = {key: statistics.median(each[1:]) for key, each in times.items()}
    return [_line(count, medians) for count in _GOALS]


def _ours(store: EventStore) -> None:
    sample = SAMPLES[0]
    with installed(store):
        publish(sample.event(**sample.values))


def _peer(tasks: list[Any]) -> None:
    for task in tasks:
        task.delay(SAMPLES[0].values)


def _tasks(broker: str, count: int) -> list[Any]:
    """Make tasks as a team has them, which nobody runs."""
    app = import_peer("celery").Celery(f"peer{count}", broker=broker)
    return [app.task(_hear, name=f"peer.task_{number}", ignore_result=True) for number in range(count)]


def _hear(payload: dict[str, Any]) -> None:
    """Do nothing."""


def _median_of(function: Callable[[], object], calls: int) -> float:
    times: list[float] = []
    for _ in range(calls):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def _line(count: int, medians: dict[_Key, float]) -> Line:
    ours, peer, ping = medians["ours", count], medians["peer", count], medians["ping", 0]
    return Line(
        name=f"hand an event to Celery on Redis for {count}",
        ours=ours,
        against=".delay() in a loop",
        theirs=peer,
        ratio=better_by(ours, peer),
        note=f"a PING takes {ping * 1e6:.0f} µs; server and publisher on one core",
        details={"ping": ping},
        goals=_GOALS[count],
    )
