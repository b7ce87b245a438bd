"""Publishing without a ledger: an event handed to an engine, against a loop of the team's own jobs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, NamedTuple

from bench.engines import procrastinate_tables
from bench.lines import NO_GOALS, Line, at_least_times, better_by
from bench.peers import import_peer
from bench.redis_server import connect, on_our_core, redis_server
from bench.rounds import shuffled
from bench.scale import Scale
from bench.shop.event_store import handing_off, installed
from bench.shop.events import SAMPLES
from whereupon import EventStore, publish
from whereupon.engine_protocol import Engine

_COUNTS = (1, 5, 20)
_CELERY_GOALS = {1: at_least_times(2.5, 3.5), 5: at_least_times(8, 15), 20: at_least_times(20, 38)}
_Key = tuple[str, int]
_Send = Callable[[], object]


class _Sides(NamedTuple):
    """Both sides on one server: an engine, and what sends for a task in a loop, by how many hear.

    `ping` asks the server for nothing but an answer, `empty` deletes what was sent. `transaction` is what
    both send in, and `on` what ours is told of it.
    """

    engine: Callable[[int], Engine]
    loop: Callable[[int], _Send]
    ping: _Send
    empty: _Send
    transaction: Callable[[], AbstractContextManager[object]] = nullcontext
    on: object = None


class _Handoff(NamedTuple):
    title: str
    call: str
    control: str
    sides: Callable[[], AbstractContextManager[_Sides]]


def measure(name: str, scale: Scale) -> list[Line]:
    """Publish one event, some times in each round; the peer sends its payload as plain data."""
    with on_our_core(), HANDOFFS[name].sides() as sides:
        engines = {count: sides.engine(count) for count in _COUNTS}
        candidates: dict[_Key, _Send] = {("ping", 0): sides.ping}
        for count, engine in engines.items():
            candidates["ours", count] = partial(_ours, handing_off(engine, count), sides.on)
            candidates["peer", count] = sides.loop(count)
        times: dict[_Key, list[float]] = {key: [] for key in candidates}
        for key in shuffled(tuple(candidates), scale.rounds_of(11) + 1):
            times[key].append(_median_of(candidates[key], scale.size(40, 3), sides.transaction))
            sides.empty()
        for engine in engines.values():
            engine.close()
    # the first round makes connections and is not counted
    medians = {key: statistics.median(each[1:]) for key, each in times.items()}
    return [_line(name, count, medians) for count in _COUNTS]


def _ours(store: EventStore, on: object) -> None:
    sample = SAMPLES[0]
    with installed(store):
        publish(sample.event(**sample.values), on=on)


def _median_of(
    function: _Send, calls: int, transaction: Callable[[], AbstractContextManager[object]]
) -> float:
    times: list[float] = []
    for _ in range(calls):
        with transaction():
            started = time.perf_counter()
            function()
            times.append(time.perf_counter() - started)
    return statistics.median(times)


@contextmanager
def _celery() -> Iterator[_Sides]:
    peer = import_peer("celery")
    from whereupon.engines.celery import CeleryEngine

    with redis_server() as port:
        client, url = connect(port), f"redis://127.0.0.1:{port}/0"

        def loop(count: int) -> _Send:
            app = peer.Celery(f"peer{count}", broker=url)
            tasks = [app.task(_hear, name=f"peer.task_{place}", ignore_result=True) for place in range(count)]
            return lambda: [task.delay(SAMPLES[0].values) for task in tasks]

        def engine(count: int) -> Engine:
            return CeleryEngine(peer.Celery(f"bench{count}", broker=url))

        yield _Sides(engine, loop, client.ping, client.flushall)
        client.close()


@contextmanager
def _procrastinate() -> Iterator[_Sides]:
    peer, psycopg = import_peer("procrastinate"), import_peer("psycopg")
    from whereupon.engines.procrastinate import ProcrastinateEngine

    def app() -> Any:
        return peer.App(connector=peer.SyncPsycopgConnector(conninfo=url))

    def loop(count: int) -> _Send:
        own = app()
        tasks = [own.task(_hear, name=f"peer.task_{place}") for place in range(count)]
        values = SAMPLES[0].values
        return lambda: [task.configure(connection=connection).defer(payload=values) for task in tasks]

    with procrastinate_tables() as url, psycopg.connect(url, autocommit=True) as connection:
        yield _Sides(
            lambda _: ProcrastinateEngine(app()),
            loop,
            partial(connection.execute, "SELECT 1"),
            partial(connection.execute, "TRUNCATE procrastinate_jobs CASCADE"),
            connection.transaction,
            connection,
        )


def _hear(payload: dict[str, Any]) -> None:
    """Do nothing."""


HANDOFFS = {
    "celery": _Handoff("Celery on Redis", ".delay()", "a PING", _celery),
    "procrastinate": _Handoff(
        "Procrastinate", "defer()", "all in one transaction, without its commit; a SELECT 1", _procrastinate
    ),
}
"""By the word in the name of the row."""


def _line(name: str, count: int, medians: dict[_Key, float]) -> Line:
    ours, peer, ping = medians["ours", count], medians["peer", count], medians["ping", 0]
    title, call, control, _ = HANDOFFS[name]
    return Line(
        name=f"hand an event to {title} for {count}",
        ours=ours,
        against=f"{call} in a loop",
        theirs=peer,
        ratio=better_by(ours, peer),
        note=f"{control} takes {ping * 1e6:.0f} µs; server and publisher on one core",
        details={"ping": ping},
        goals=_CELERY_GOALS[count] if name == "celery" else NO_GOALS,
    )
