"""The conformance kit for engines: the same cases on every engine, with real workers that are killed.

An adapter says how its workers are started and how a job is forged (`Kind`), and the cases do the rest:

    @pytest.mark.parametrize("case", engine_contract.CASES, ids=str)
    def test_case(case, rig):
        case.run(rig)

`rig` is a fixture that lasts for all cases of one kind, so that they share a worker where they can:
`with Rig(kind) as rig: yield rig`. The worker's application is a module with
`store = engine_contract.make_store(engine)` and `store.install()`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from whereupon.testing.engine_contract import deaths, living, refusing
from whereupon.testing.engine_contract.app import (
    FOLDER,
    LEDGER,
    make_ledger,
    make_store,
    make_store_without_ledger,
)
from whereupon.testing.engine_contract.kinds import Broker, Kind
from whereupon.testing.engine_contract.rig import Rig

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "CASES", "FOLDER", "HANDOFF_CASES", "LEDGER", "Broker", "Case", "Kind", "Rig", "make_ledger",
    "make_store", "make_store_without_ledger",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Case:
    """One case: what happens, and what the engine promises for it.

    Local workers have no jobs that somebody could forge, and no broker that could be killed. `in_handoff` are
    those that hold without a ledger, too; what the engine itself promises for deaths differs.
    """

    name: str
    promise: str
    script: Callable[[Rig], None]
    needs_jobs: bool = False
    needs_broker: bool = False
    in_handoff: bool = False

    def run(self, rig: Rig) -> None:
        """Run the case. Raises AssertionError."""
        self.script(rig)

    def __str__(self) -> str:
        return self.name.replace(" ", "-")


CASES: Final = (
    Case("fan-out in one call", "twenty subscribers are one call of the engine for each of their queues",
         living.fan_out_in_one_call, needs_jobs=True),
    Case("every kind of subscriber", "functions, coroutines, atomic ones, conditions: each handles its own",
         living.every_kind_of_subscriber, in_handoff=True),
    Case("options", "what the engine cannot honour is a fault of the store", refusing.options,
         in_handoff=True),
    Case("fan-out", "twenty subscribers hear an event once each", living.fan_out, in_handoff=True),
    Case("delay", "no earlier than said", living.delay, in_handoff=True),
    Case("groups", "an event that fails is tried again without the others", living.groups, in_handoff=True),
    Case("retries", "attempts are counted and run out; RetryIn, Park, IGNORED and SystemExit are honoured",
         living.retries, in_handoff=True),
    Case("follow-ups", "what a subscriber publishes is delivered", living.follow_ups, in_handoff=True),
    Case("refused payloads", "parked at once with the field named, and its neighbours are handled",
         refusing.payloads, in_handoff=True),
    Case("payloads of newer code", "they wait without spending an attempt, until code accepts them",
         refusing.payloads_of_newer_code),
    Case("concurrency", "no more at once in one process than the subscriber says", living.concurrency,
         in_handoff=True),
    Case("time limits", "a handler over its limit is a failed attempt", living.time_limits, in_handoff=True),
    Case("time limits of groups", "each call has the whole limit, however many a job holds",
         living.time_limits_in_groups, in_handoff=True),
    Case("duplicates", "jobs that come twice, late or out of order change nothing", living.duplicates,
         needs_jobs=True),
    Case("forged jobs", "unknown deliveries and subscribers, and what is no wake-up, change nothing",
         living.forged_jobs, needs_jobs=True, in_handoff=True),
    Case("the broker loses its jobs", "nothing is lost", deaths.lost_jobs, needs_broker=True),
    Case("many deaths", "nothing is lost", deaths.many_deaths),
    Case("the handling process is killed", "started again within 3 s", deaths.handling_process),
    Case("the worker is killed", "started again within 3 s where another worker runs", deaths.worker),
    Case("the helpers are killed too", "started again within 8 s", deaths.helper, needs_jobs=True),
    Case("a helper is killed", "what runs is undisturbed, what comes starts within 3 s by another one's help",
         deaths.one_helper, needs_jobs=True),
    Case("SIGTERM", "the handler finishes, and nothing is left behind", deaths.sigterm, in_handoff=True),
    Case("the broker is killed", "nothing is lost, and all is done within 60 s of its return",
         deaths.broker_restart, needs_broker=True),
)  # fmt: skip
"""The cases, those that kill at the end."""
HANDOFF_CASES: Final = tuple(case for case in CASES if case.in_handoff)
"""The cases for a store without a ledger, from `make_store_without_ledger(engine)`."""
