"""The check: what must hold after a run, from the evidence alone. Each breach names what it is about."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.crash.evidence import EFFECTIVE
from tests.crash.oracle import ACK, FAILED, INTENT, ROLLED_BACK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tests.crash.evidence import Evidence

    Found = Iterator[tuple[str, Iterable[object]]]


class Breach(NamedTuple):
    """An invariant that does not hold, and the ids of what it is about."""

    invariant: str
    says: str
    ids: tuple[str, ...]


def check(evidence: Evidence) -> list[Breach]:
    """Return every breach of every invariant."""
    return [
        Breach(name, says, tuple(sorted(map(str, ids))))
        for name, rule in RULES
        for says, ids in rule(evidence)
        if ids
    ]


def _nothing_is_lost(evidence: Evidence) -> Found:
    yield "deliveries are neither done nor parked nor open", evidence.of_fate("lost")
    yield "deliveries are still open, though nobody was killed any more", evidence.of_fate("open")
    yield "orders were acked and have no business row", evidence.orders(ACK) - set(evidence.business)


def _nothing_is_made_up(evidence: Evidence) -> Found:
    started = {order for _, order in evidence.starts}
    yield "orders were delivered without a business row", started - set(evidence.business)
    yield "orders were delivered that had been rolled back", started & evidence.orders(ROLLED_BACK)
    yield "effects without a business row", set(evidence.effects) - set(evidence.business)
    yield "events without a business row", set(evidence.placed) - set(evidence.business)


def _both_or_neither(evidence: Evidence) -> Found:
    killed = {pid for hit in evidence.hits if hit.kind == "KILL" for pid in hit.pids}
    ended = evidence.orders(ACK) | evidence.orders(ROLLED_BACK)
    unknown = Counter(line.pid for line in evidence.lines if line.word == INTENT and line.order not in ended)
    yield "business rows without their event", set(evidence.business) - set(evidence.placed)
    yield "business rows are there twice", _several(evidence.business)
    yield "events are there twice", _several(evidence.placed) | _several(evidence.billed)
    yield "publishers left more than one outcome unknown", _several(unknown)
    yield "publishers were not killed and left an outcome unknown", set(unknown) - killed


def _starts_are_explained(evidence: Evidence) -> Found:
    """A second start follows a failure, or somebody was hit: who began before, or who had lost its lease."""
    broken = {pid for hit in evidence.hits if hit.breaks_claims for pid in hit.everybody}
    woken = {
        pid for hit in evidence.hits if hit.kind == "STOP" and hit.breaks_claims for pid in hit.everybody
    }
    failures = evidence.of_word(FAILED)
    yield (
        "deliveries were started again and nothing had happened to the process before",
        {
            f"{'/'.join(delivery)} by {before.pid} at {before.at:.3f}, by {again.pid} at {again.at:.3f}"
            for delivery, starts in evidence.starts.items()
            for before, again in pairwise(starts)
            if not any(
                line.pid == before.pid and before.at <= line.at <= again.at
                for line in failures.get(delivery, ())
            )
            and before.pid not in broken
            and again.pid not in woken
        },
    )


def _effects_are_single(evidence: Evidence) -> Found:
    yield "effects of the atomic subscriber are there twice", _several(evidence.effects)
    yield "effects and what was published with them disagree", set(evidence.effects) ^ set(evidence.billed)
    done = {
        each.order for each in evidence.deliveries if (each.subscription, each.state) == (EFFECTIVE, "done")
    }
    yield "atomic deliveries and their effects disagree", done ^ set(evidence.effects)


def _counts_are_plausible(evidence: Evidence) -> Found:
    """Only who was hit may be counted as a crash, and only what was raised as an attempt."""
    broken = {pid for hit in evidence.hits if hit.breaks_claims for pid in hit.everybody}
    stopped = {pid for hit in evidence.hits if hit.kind == "STOP" for pid in hit.everybody}
    failures = evidence.of_word(FAILED)
    nobody: set[int] = set()
    yield (
        "deliveries were set aside for another reason than crashes",
        [
            f"{'/'.join(each.delivery)} ({each.outcome})"
            for each in evidence.deliveries
            if each.state == "parked" and each.outcome != "crashes"
        ],
    )
    yield (
        "deliveries are blamed for more deaths than there were",
        [
            f"{'/'.join(each.delivery)} has {each.crashes}"
            for each in evidence.deliveries
            if each.crashes > len(evidence.claimants.get(each.delivery, nobody) & broken)
        ],
    )
    yield (
        "deliveries have more attempts than failures",
        [
            f"{'/'.join(each.delivery)} has {each.attempts}"
            for each in evidence.deliveries
            if each.attempts > len(failures.get(each.delivery, ()))
            and not evidence.claimants.get(each.delivery, nobody) & stopped  # it may have overrun its timeout
        ],
    )


def _closed_once(evidence: Evidence) -> Found:
    """By a holder that is known: a lapsed lease harms nobody before a rescue, which forgets the worker.

    One that is stopped inside its closing transaction closes late, and rightly: it has the lock of the file.
    """
    closed = Counter("/".join(each.delivery) for each in evidence.closes)
    done = {"/".join(each.delivery) for each in evidence.deliveries if each.state == "done"}
    finished = {(*delivery, line.pid) for delivery, lines in evidence.ends.items() for line in lines}
    yield "deliveries were closed twice", _several(closed)
    yield "deliveries are done and nobody closed them", done - set(closed)
    yield (
        "deliveries were closed while nobody held them",
        {"/".join(each.delivery) for each in evidence.closes if each.was != "claimed" or not each.known},
    )
    yield (
        "deliveries were closed for a holder that had not finished them",
        {"/".join(each.delivery) for each in evidence.closes if (*each.delivery, each.pid) not in finished},
    )


def _the_file_is_sound(evidence: Evidence) -> Found:
    yield evidence.integrity, [] if evidence.integrity == "ok" else ["PRAGMA integrity_check"]


def _nobody_is_left(evidence: Evidence) -> Found:
    yield "processes are alive after the end", evidence.left
    yield "workers are known to the ledger after all have been stopped", range(evidence.workers)
    yield "processes failed, and no hit was the reason", evidence.complaints


def _several(counter: Counter[object]) -> set[object]:
    return {each for each, count in counter.items() if count > 1}


RULES: Final[tuple[tuple[str, Callable[[Evidence], Found]], ...]] = (
    ("I1 nothing is lost", _nothing_is_lost),
    ("I2 nothing is made up", _nothing_is_made_up),
    ("I3 both or neither", _both_or_neither),
    ("I4 duplicate starts are explained", _starts_are_explained),
    ("I4 atomic effects are single", _effects_are_single),
    ("I6 counts are plausible", _counts_are_plausible),
    ("I7 closed once, by the holder", _closed_once),
    ("I8 the file is sound", _the_file_is_sound),
    ("I9 nobody is left behind", _nobody_is_left),
)
