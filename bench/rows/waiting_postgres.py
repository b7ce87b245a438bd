"""100,000 open deliveries that nobody can take yet, on PostgreSQL: do they slow the others down?"""

from __future__ import annotations

from bench.disk import temporary_folder
from bench.ledgers import Databases
from bench.lines import Line
from bench.postgres import postgres
from bench.rows.waiting import waiting_lines
from bench.scale import Scale


def measure(scale: Scale) -> list[Line]:
    """Drain ledgers and time single claims, by turns with and without the deliveries that wait."""
    with temporary_folder() as folder, postgres() as server:
        return waiting_lines(Databases(server), folder, scale)
