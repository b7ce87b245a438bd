"""Claiming deliveries and closing them: every change is a compare-and-set on (state, token)."""

from __future__ import annotations

import json
import secrets
from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from whereupon.deliveries import CRASHES, Claim, Close, Done, Parked, Released, Retry, Waiting

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from whereupon.ledger_protocol import Row, Transaction

ALONE_FROM: Final = 2
"""A delivery that was in hand at this many deaths is tried once more, alone in a process of its own."""
_HISTORY: Final = 20
"""How many failures of one delivery are kept."""

_DUE: Final = """
    SELECT id, due_at, group_id FROM whereupon_delivery
    WHERE subscription = :subscription AND state = 'open' AND crashes = 0 AND due_at <= :now
    ORDER BY due_at, id LIMIT :most
"""
_NEXT: Final = """
    SELECT due_at FROM whereupon_delivery
    WHERE subscription = :subscription AND state = 'open' AND crashes = 0
    ORDER BY due_at LIMIT 1
"""
_GROUP: Final = """
    SELECT id FROM whereupon_delivery
    WHERE subscription = :subscription AND state = 'open' AND crashes = 0
        AND due_at = :due_at AND group_id = :group_id
    ORDER BY id
"""
_SUSPECT: Final = """
    SELECT id, due_at FROM whereupon_delivery
    WHERE state = 'open' AND crashes > 0 AND crashes >= :least AND crashes < :below
        AND subscription IN (SELECT value FROM json_each(:subscriptions))
    ORDER BY due_at LIMIT 1
"""
_CLAIM: Final = """
    UPDATE whereupon_delivery
    SET state = 'claimed', worker = :worker, token = :token, claimed_at = :now
    WHERE id IN (SELECT value FROM json_each(:ids)) AND state = 'open'
    RETURNING id, event_id, subscription, token, attempts, crashes, group_id, recheck, refused_at
"""
_ENVELOPES: Final = """
    SELECT id, envelope FROM whereupon_event WHERE id IN (SELECT value FROM json_each(:ids))
"""
_OURS: Final = "WHERE id = :id AND state = 'claimed' AND token = :token"
_DONE: Final = f"""
    UPDATE whereupon_delivery
    SET state = 'done', outcome = :outcome, done_at = :now, worker = NULL, overrunning = 0
    {_OURS}
"""
_RELEASE: Final = f"UPDATE whereupon_delivery SET state = 'open', worker = NULL {_OURS}"
_FAIL: Final = f"""
    UPDATE whereupon_delivery
    SET state = :state, outcome = :reason, error = :error, attempts = attempts + :spent,
        due_at = :due_at, refused_at = :refused_at, group_id = NULL, worker = NULL, overrunning = 0,
        history = :history
    {_OURS}
"""
_OVERRUN: Final = f"""
    UPDATE whereupon_delivery SET overrunning = 1, attempts = attempts + 1, error = :error {_OURS}
"""
_HISTORY_OF: Final = f"SELECT history FROM whereupon_delivery {_OURS}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A subscription that a worker can start.

    `ids` are its ids, `rank` is that of its priority, `most` is how many jobs, and `seconds` is how long one
    will keep a thread.
    """

    ids: tuple[str, ...]
    rank: int
    most: int
    group_size: int = 1
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Budget:
    """How much may be claimed: so many seconds of work, but `least` jobs in any case, and `most` at all."""

    seconds: float
    least: int
    most: int


@dataclass(frozen=True, slots=True)
class _Job:
    """One thing to start: a delivery, or the deliveries of one group."""

    rank: int
    turn: int
    due_at: int
    seconds: float
    deliveries: tuple[int, ...]


def claim(
    transaction: Transaction, worker: str, wanted: Sequence[Wanted], budget: Budget
) -> list[list[Claim]]:
    """Claim due jobs within a budget; each is one delivery or one group.

    High priority goes first; within one priority the subscriptions take turns, so that a backlog of one
    does not hold up the others.
    """
    now = transaction.now()
    jobs = [job for each in wanted for job in _due(transaction, each, now, budget.most)]
    jobs.sort(key=lambda job: (job.rank, job.turn, job.due_at))
    chosen: list[tuple[int, ...]] = []
    seconds = 0.0
    for job in jobs[: budget.most]:
        if seconds > budget.seconds and len(chosen) >= budget.least:
            break
        seconds += job.seconds
        chosen.append(job.deliveries)
    return _take(transaction, worker, chosen, now)


def claim_suspect(
    transaction: Transaction, worker: str, subscriptions: Iterable[str], *, alone: bool
) -> list[Claim]:
    """Claim one delivery that was in hand when a process died; with `alone`, one on its last chance."""
    now = transaction.now()
    found = _suspect(transaction, subscriptions, alone=alone)
    claims = _take(transaction, worker, [(found[0],)] if found and found[1] <= now else [], now)
    return claims[0] if claims else []


def next_suspect(transaction: Transaction, subscriptions: Iterable[str], *, alone: bool) -> int | None:
    """Return when the next suspect is due, in milliseconds since 1970."""
    found = _suspect(transaction, subscriptions, alone=alone)
    return found[1] if found else None


def _suspect(
    transaction: Transaction, subscriptions: Iterable[str], *, alone: bool
) -> tuple[int, int] | None:
    bounds = (ALONE_FROM, CRASHES) if alone else (1, ALONE_FROM)
    found = transaction.rows(
        _SUSPECT,
        {"least": bounds[0], "below": bounds[1], "subscriptions": json.dumps(list(subscriptions))},
    )
    return (found[0][0], found[0][1]) if found else None


def next_due(transaction: Transaction, subscriptions: Iterable[str]) -> int | None:
    """Return when the next open delivery of these subscriptions is due, in milliseconds since 1970."""
    moments = [row[0] for each in subscriptions for row in transaction.rows(_NEXT, {"subscription": each})]
    return min(moments, default=None)


def _due(transaction: Transaction, wanted: Wanted, now: int, most: int) -> list[_Job]:
    limit = min(wanted.most, most)
    jobs: list[_Job] = []
    for subscription in wanted.ids:
        rows = transaction.rows(
            _DUE, {"subscription": subscription, "now": now, "most": limit * wanted.group_size}
        )
        units = (
            [(due_at, (delivery,)) for delivery, due_at, _ in rows]
            if wanted.group_size == 1
            else _grouped(transaction, subscription, rows)
        )
        for due_at, deliveries in units[: limit - len(jobs)]:
            jobs.append(_Job(wanted.rank, len(jobs), due_at, wanted.seconds, deliveries))
    return jobs


def _grouped(
    transaction: Transaction, subscription: str, rows: list[Row]
) -> list[tuple[int, tuple[int, ...]]]:
    units: dict[object, tuple[int, tuple[int, ...]]] = {}
    for delivery, due_at, group in rows:
        if group is None:
            units[delivery] = (due_at, (delivery,))
        elif group not in units:
            key = {"subscription": subscription, "due_at": due_at, "group_id": group}
            units[group] = (due_at, tuple(row[0] for row in transaction.rows(_GROUP, key)))
    return list(units.values())


def _take(
    transaction: Transaction, worker: str, jobs: Sequence[tuple[int, ...]], now: int
) -> list[list[Claim]]:
    if not jobs:
        return []
    ids = [delivery for job in jobs for delivery in job]
    taken = transaction.rows(
        _CLAIM,
        {"worker": worker, "token": secrets.randbits(62), "now": now, "ids": json.dumps(ids)},
    )
    events = sorted({row[1] for row in taken})
    envelopes = {row[0]: row[1] for row in transaction.rows(_ENVELOPES, {"ids": json.dumps(events)})}
    claims = {row[0]: _claim(row, envelopes.get(row[1], ""), now) for row in taken}
    found = [[claims[delivery] for delivery in job if delivery in claims] for job in jobs]
    return [job for job in found if job]


def _claim(row: Row, envelope: str, now: int) -> Claim:
    delivery, event_id, subscription, token, attempts, crashes, group, recheck, refused_at = row
    return Claim(
        delivery=delivery,
        event_id=event_id,
        subscription=subscription,
        token=token,
        attempts=attempts,
        crashes=crashes,
        envelope=envelope.encode(),
        group=group,
        recheck=bool(recheck),
        refused_for=None if refused_at is None else timedelta(milliseconds=now - refused_at),
    )


def close(transaction: Transaction, closes: Sequence[Close]) -> list[Close]:
    """Close claims and return those that were lost: their token is not the current one any more."""
    now = transaction.now()
    by_kind: dict[type, list[Close]] = defaultdict(list)
    for each in closes:
        by_kind[type(each.result)].append(each)
    lost = _run(transaction, _DONE, by_kind[Done], lambda each: {"outcome": each.result.outcome, "now": now})
    lost += _run(transaction, _RELEASE, by_kind[Released], lambda _: {})
    for each in [*by_kind[Retry], *by_kind[Waiting], *by_kind[Parked]]:
        lost += _fail(transaction, each, each.result, now)
    return lost


def _run(transaction: Transaction, sql: str, closes: list[Close], more: Any) -> list[Close]:
    if not closes:
        return []
    rows = [_key(each) | more(each) for each in closes]
    if transaction.run_many(sql, rows) == len(closes):
        return []
    return [each for each in closes if not _is_closed(transaction, each)]


def _is_closed(transaction: Transaction, close: Close) -> bool:
    """Tell a close that took effect from one that came too late: the token stays on the row."""
    sql = "SELECT 1 FROM whereupon_delivery WHERE id = :id AND token = :token AND state <> 'claimed'"
    return bool(transaction.rows(sql, _key(close)))


def _fail(transaction: Transaction, close: Close, result: Any, now: int) -> list[Close]:
    """Write a failure, which stays on the delivery whether it is tried again or set aside."""
    key = _key(close)
    found = transaction.rows(_HISTORY_OF, key)
    if not found:
        return [close]
    parked = isinstance(result, Parked)
    waited = _milliseconds(close.claim.refused_for or timedelta(0))
    transaction.run(
        _FAIL,
        key
        | {
            "state": "parked" if parked else "open",
            "reason": result.reason if parked else None,
            "error": result.error,
            "spent": int(not isinstance(result, Waiting) and result.spends),
            "due_at": now if parked else now + _milliseconds(result.delay),
            "refused_at": now - waited if isinstance(result, Waiting) else None,
            "history": with_failure(found[0][0], now, close.claim.attempts + 1, result.error),
        },
    )
    return []


def mark_overrunning(transaction: Transaction, claim: Claim, error: str) -> bool:
    """Note that a handler is over its time limit: a failed attempt, with the lease kept."""
    return bool(transaction.run(_OVERRUN, {"id": claim.delivery, "token": claim.token, "error": error}))


def with_failure(history: str | None, now: int, attempt: int, error: str) -> str:
    """Add one failure to the history of a delivery, which keeps the last `_HISTORY`."""
    entries: list[Mapping[str, Any]] = json.loads(history or "[]")
    return json.dumps([*entries, {"at": now, "attempt": attempt, "error": error}][-_HISTORY:])


def _key(close: Close) -> dict[str, Any]:
    return {"id": close.claim.delivery, "token": close.claim.token}


def _milliseconds(delay: timedelta) -> int:
    return round(delay.total_seconds() * 1000)
