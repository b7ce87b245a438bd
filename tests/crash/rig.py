"""One run: set up, hit for so many rounds, stop, let clean workers finish, gather the evidence."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.crash import database
from tests.crash.evidence import Evidence, gather
from tests.crash.killer import Killer, moves
from tests.crash.processes import STORE, Crew

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_PAIR: Final = 2
"""How many publishers and how many supervisors run at once."""
_STALLED: Final = 40.0
"""Seconds without any progress after which the rig does not wait any longer for what is open."""


class Plan(NamedTuple):
    """What a run does: the schedule follows from the seed."""

    rounds: int
    seed: int
    journal: str = "auto"


def run(plan: Plan, folder: Path, say: Callable[[str], None]) -> Evidence:
    """Make one run in an empty folder and return its evidence; say what each round did."""
    with Crew(folder, plan.journal) as crew:
        crew.run("whereupon", "ledger", "migrate", "--store", STORE)
        database.prepare(folder)
        for name in ("oracle.log", "hits.log"):
            (folder / name).touch()
        _hit(crew, plan, say)
        _finish(crew)
        return gather(folder, crew.complaints, crew.left_behind())


def _hit(crew: Crew, plan: Plan, say: Callable[[str], None]) -> None:
    started = time.monotonic()
    for _ in range(_PAIR):
        crew.add_publisher()
        crew.add_supervisor()
    _until_working(crew)
    killer = Killer(crew)
    say(f"{'round':>5}  {'second':>6}  {'acked':>6}  {'handled':>7}  hit")
    for number, move in enumerate(moves(plan.seed, plan.rounds), 1):
        done = killer.make(move)
        log = (crew.folder / "oracle.log").read_bytes()
        acked, handled = log.count(b"ack "), log.count(b"done ")
        say(f"{number:>5}  {time.monotonic() - started:>6.1f}  {acked:>6}  {handled:>7}  {done}")
    while killer.resume_due():
        crew.reap()
        killer.rest(0.05)


def _until_working(crew: Crew) -> None:
    deadline = time.monotonic() + 30
    while b" plain " not in (crew.folder / "oracle.log").read_bytes():
        if time.monotonic() > deadline:
            raise RuntimeError(f"no handler was started within 30 s; see {crew.folder}/*.out")
        time.sleep(0.05)


def _finish(crew: Crew) -> None:
    """Stop the publishers; nobody is hit any more, and the workers there are must finish everything."""
    crew.reap()
    crew.stop_publishers()
    least, since = database.unfinished(crew.folder), time.monotonic()
    while least and time.monotonic() - since < _STALLED:
        time.sleep(0.2)
        crew.reap()
        left = database.unfinished(crew.folder)
        if left < least:
            least, since = left, time.monotonic()
    crew.stop_supervisors()
