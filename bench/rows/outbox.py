"""Publishing in a Django application on PostgreSQL: ours, against django-outbox-pattern with N destinations.

Both save one row of a model with Django's ORM on the same connection, in `transaction.atomic()`. The peer
saves its N outbox rows with it; ours calls `publish(event, on=...)` on the connection below Django's. Timed
is all of that, without the commit.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial

from bench.lines import Line, better_by
from bench.peers import import_peer
from bench.peers.django_outbox import new_row
from bench.peers.django_project import django_db, set_up
from bench.postgres import postgres
from bench.scale import Scale
from bench.shop.event_store import fanning_out, installed
from bench.shop.events import SAMPLES
from whereupon import EventStore, publish

_COUNTS = (1, 5, 20)
_WARM_UP = 3


def measure(scale: Scale) -> list[Line]:
    """Save and publish by turns, each in a transaction of its own."""
    import_peer("django_outbox_pattern")
    with postgres() as server:
        ledger = server.new_ledger("application")
        set_up(server.url("application"))
        with closing(django_db().connection):
            candidates: dict[tuple[str, int], Callable[[], None]] = {}
            for count in _COUNTS:
                candidates["ours", count] = partial(_ours, fanning_out(ledger, count))
                candidates["peer", count] = partial(_peer, count)
            _round(candidates, _WARM_UP)
            times = _round(candidates, scale.rounds_of(9) * scale.size(60, 5))
    return [_line(count, times) for count in _COUNTS]


def _ours(store: EventStore) -> None:
    sample = SAMPLES[0]
    new_row(0).save()
    with installed(store):
        publish(sample.event(**sample.values), on=django_db().connection.connection)


def _peer(count: int) -> None:
    new_row(count).save()


def _round(candidates: dict[tuple[str, int], Callable[[], None]], calls: int) -> dict[tuple[str, int], float]:
    times: dict[tuple[str, int], list[float]] = {key: [] for key in candidates}
    atomic = django_db().transaction.atomic
    for _ in range(calls):
        for key in random.sample(list(candidates), len(candidates)):
            with atomic():
                started = time.perf_counter()
                candidates[key]()
                times[key].append(time.perf_counter() - started)
    return {key: statistics.median(found) for key, found in times.items()}


def _line(count: int, times: dict[tuple[str, int], float]) -> Line:
    ours, peer = times["ours", count], times["peer", count]
    return Line(
        name=f"Django on PostgreSQL, save and publish to {count}",
        ours=ours,
        against="django-outbox-pattern",
        theirs=peer,
        ratio=better_by(ours, peer),
        note="the save of the business row included on both sides, the commit on neither",
    )
