"""The rows of the table, in the order in which they run; the control goes first."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from bench.engines import ENGINES
from bench.lines import Line
from bench.rows import (
    claims_postgres,
    construct,
    control,
    drain,
    drain_postgres,
    handling_engines,
    handoff_engines,
    importing,
    latency,
    latency_engines,
    latency_postgres,
    outbox,
    planning,
    publishing,
    publishing_postgres,
    rebuilding,
    sending_engines,
    waiting,
    waiting_postgres,
)
from bench.scale import Scale

ROWS: dict[str, Callable[[Scale], list[Line]]] = {
    "control": control.measure,
    "construct": construct.measure,
    "rebuild": rebuilding.measure,
    "plan": planning.measure,
    "import": importing.measure,
    "publish": publishing.measure,
    "latency": latency.measure,
    "drain": drain.measure,
    "waiting": waiting.measure,
    "publish-postgres": publishing_postgres.measure,
    "outbox": outbox.measure,
    "claims-postgres": claims_postgres.measure,
    "latency-postgres": latency_postgres.measure,
    "drain-postgres": drain_postgres.measure,
    "waiting-postgres": waiting_postgres.measure,
    **{f"handoff-{name}": partial(handoff_engines.measure, name) for name in handoff_engines.HANDOFFS},
    **{f"handling-{name}": partial(handling_engines.measure, name) for name in ENGINES},
    **{f"sending-{name}": partial(sending_engines.measure, name) for name in ENGINES},
    **{f"latency-{name}": partial(latency_engines.measure, name) for name in ENGINES},
}
"""What `--only` takes, and the function that measures it."""
