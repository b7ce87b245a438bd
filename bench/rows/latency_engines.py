"""From publish to the start of the handler in an idle worker of an engine, the ledger on PostgreSQL."""

from __future__ import annotations

import os

from bench.disk import temporary_folder
from bench.engines import BROKER, ENGINES
from bench.lines import Line
from bench.postgres import postgres
from bench.rows.latency import NO_GOALS_OF_BOTH, PAUSE, latency_lines
from bench.scale import Scale


def measure(engine: str, scale: Scale) -> list[Line]:
    """Publish at irregular intervals: the relay hears of it, wakes the engine, and a worker claims."""
    measured = ENGINES[engine]
    with temporary_folder() as folder, postgres() as server, measured.broker() as broker:
        os.environ[BROKER] = broker  # which the worker inherits
        count = scale.size(200, 20)
        ledger = server.new_ledger("idle")
        return latency_lines(
            ledger, measured.title, folder, count, scale, NO_GOALS_OF_BOTH, PAUSE, measured.worker
        )
