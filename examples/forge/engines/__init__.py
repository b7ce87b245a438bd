"""Which job engine the workers are of: the one that FORGE_ENGINE names, with its broker at FORGE_BROKER.

Without it, local workers handle everything. Each module here holds what a team has of one engine already,
its application, the engine made of it, and how a worker is started.
"""

import os
import pkgutil
import sys
from collections.abc import Sequence
from typing import Any, Final

from whereupon.engine_protocol import Engine

NAMES: Final = ("celery",)
QUEUES: Final = ("ci", "mail", "merge_requests", "onboarding", "search")
"""The queues of the subscribers, which the workers of an engine are told to consume."""
_LOCAL: Final = (
    sys.executable, "-m", "whereupon", "worker", "--store", "forge.event_store:store", "--processes", "1",
)  # fmt: skip


def _chosen() -> Any:
    name = os.environ.get("FORGE_ENGINE")
    return pkgutil.resolve_name(f"forge.engines.{name}_engine") if name in NAMES else None


def engine() -> Engine | None:
    """Return the engine of the store."""
    chosen = _chosen()
    return chosen.ENGINE if chosen else None


def command() -> Sequence[str]:
    """Return how a worker is started."""
    chosen = _chosen()
    return (sys.executable, "-m", *chosen.COMMAND) if chosen else _LOCAL
