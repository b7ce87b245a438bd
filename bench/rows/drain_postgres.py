"""Deliveries per second on PostgreSQL: a backlog drained by a local worker, beside a plain SKIP LOCKED queue.

The plain queue is the control: one thread that leases a batch, calls the handlers and deletes the batch,
without contracts, retries or history. It tells what this server and this disk give to anybody.
"""

from __future__ import annotations

import json
import shutil
import statistics
from contextlib import closing
from pathlib import Path

from bench.disk import Control, temporary_folder
from bench.draining import Window, drain_ledger, drain_plain
from bench.lines import Line, written
from bench.marks import Marks
from bench.peers import plain_queue
from bench.postgres import Server, postgres
from bench.rounds import shuffled
from bench.scale import Scale
from bench.shop.backlog import publish_backlog
from bench.shop.event_store import noting

_SIZES = (None, 1, 10, 100)  # ours, and the batches of the plain queue
_FILL = """
    INSERT INTO plain_queue (subscriber, body)
    SELECT 'shop.note', replace(%s, '4711', place::text) FROM generate_series(0, %s - 1) AS given(place)
"""
_BODY = json.dumps({"pipeline_id": 4711, "ref": "main"})


def measure(scale: Scale) -> list[Line]:
    """Drain backlogs of equal size by turns."""
    window = Window(scale.size(20_000, 500), seconds=scale.size(4, 2))
    rates: dict[int | None, list[float]] = {each: [] for each in _SIZES}
    with temporary_folder() as folder, postgres() as server:
        control = Control(folder)
        for size in shuffled(_SIZES, scale.rounds_of(5)):
            control.sample()
            place = folder / "round"
            place.mkdir()
            rates[size].append(_rate(size, server, place, window))
            server.drop("backlog")
            shutil.rmtree(place)
    medians = {each: statistics.median(found) for each, found in rates.items()}
    return [_line(medians, rates, control)]


def _rate(size: int | None, server: Server, folder: Path, window: Window) -> float:
    marks = Marks.create(folder / "marks", window.count)
    if size is None:
        ledger = server.new_ledger("backlog")
        publish_backlog(noting(ledger), range(window.count))
        server.settle("backlog")
        return drain_ledger(ledger, marks, window, until_closed=True)
    url = server.new_database("backlog")
    with closing(server.connect("backlog")) as connection:
        plain_queue.create(connection)
        connection.execute(_FILL, [_BODY, window.count])
    server.settle("backlog")
    return drain_plain(url, size, marks, window)


def _line(medians: dict[int | None, float], rates: dict[int | None, list[float]], control: Control) -> Line:
    batches = ", ".join(f"{written(medians[each], 'rate')} by {each}" for each in _SIZES if each)
    return Line(
        name="deliveries per second, PostgreSQL",
        ours=medians[None],
        kind="rate",
        against="SKIP LOCKED by hand, by 10",
        theirs=medians[10],
        ratio=medians[None] / medians[10],
        note=f"the plain queue, one thread: {batches}; {control}",
        details={"flush": control.median, "rates": {str(each or "ours"): rates[each] for each in _SIZES}},
    )
