"""From publish to the start of the handler on PostgreSQL: told by NOTIFY, and by looking behind a pooler."""

from __future__ import annotations

from bench.disk import temporary_folder
from bench.lines import Line
from bench.postgres import postgres
from bench.rows.latency import GOALS, NO_GOALS_OF_BOTH, PAUSE, latency_lines
from bench.scale import Scale

_LONG_PAUSE = (0.5, 1.0)  # longer than the time between two looks, and as random
_TITLES = {False: "PostgreSQL", True: "PostgreSQL, pooled=True"}


def measure(scale: Scale) -> list[Line]:
    """Publish at irregular intervals into the ledger of an idle worker; a pooled one looks twice a second."""
    lines: list[Line] = []
    counts = {False: scale.size(200, 20), True: scale.size(40, 4)}
    with temporary_folder() as folder, postgres() as server:
        for pooled, title in _TITLES.items():
            place = folder / f"pooled_{pooled}"
            place.mkdir()
            ledger = server.new_ledger(f"pooled_{pooled}".lower(), pooled=pooled)
            goals, pause = (NO_GOALS_OF_BOTH, _LONG_PAUSE) if pooled else (GOALS, PAUSE)
            lines += latency_lines(ledger, title, place, counts[pooled], scale, goals, pause)
    return lines
