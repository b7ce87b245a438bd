"""Claiming deliveries and closing them: every change is a compare-and-set on (state, token)."""

from __future__ import annotations

import json
import secrets
from collections import defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from whereupon.deliveries import CRASHES, Claim, Close, Done, Parked, Released, Retry, Waiting
from whereupon.ledger.due import Floors, Request, due_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from whereupon.ledger_protocol import Row, Transaction

ALONE_FROM: Final = 2
"""A delivery that was in hand at this many deaths is tried once more, alone in a process of its own."""
_HISTORY: Final = 20
"""How many failures of one delivery are kept."""

_GROUP: Final = """
    SELECT id FROM whereupon_delivery
    WHERE subscription = :subscription AND state = 'open' AND crashes = 0
        AND due_at = :due_at AND group_id = :group_id
    ORDER BY id FOR UPDATE SKIP LOCKED
"""
_WOKEN: Final = """
    SELECT id, due_at, group_id, subscription FROM whereupon_delivery
    WHERE id = ANY(:ids) AND state = 'open' AND due_at <= :now AND crashes < :below
        AND subscription = ANY(:subscriptions)
    FOR UPDATE SKIP LOCKED
"""
_SUSPECT: Final = """
    SELECT id, due_at FROM whereupon_delivery
    WHERE state = 'open' AND crashes > 0 AND crashes >= :least AND crashes < :below
        AND subscription = ANY(:subscriptions)
    ORDER BY due_at LIMIT 1
"""
_CLAIM: Final = """
    UPDATE whereupon_delivery
    SET state = 'claimed', worker = :worker, token = :token, claimed_at = :now, woken_at = NULL
    WHERE id = ANY(:ids) AND state = 'open'
"""
_CLAIMED: Final = """
    SELECT delivery.id, event_id, subscription, token, attempts, crashes, coalesce(envelope, ''),
        group_id, recheck, refused_at
    FROM whereupon_delivery AS delivery LEFT JOIN whereupon_event AS event ON event.id = event_id
    WHERE delivery.id = ANY(:ids) AND token = :token
"""
_MANY: Final = "WHERE id = ANY(:ids) AND state = 'claimed' AND token = :token"
_DONE: Final = f"""
    UPDATE whereupon_delivery
    SET state = 'done', outcome = :outcome, done_at = :now, worker = NULL, overrunning = 0
    {_MANY}
"""
_RELEASE: Final = f"UPDATE whereupon_delivery SET state = 'open', worker = NULL {_MANY}"
_RELEASE_OTHERS: Final = """
    UPDATE whereupon_delivery SET state = 'open', worker = NULL
    WHERE worker = :worker AND state = 'claimed' AND id <> ALL(:known)
"""
_OURS: Final = "WHERE id = :id AND state = 'claimed' AND token = :token"
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


class Wanted(NamedTuple):
    """A subscription that a worker can start.

    `ids` are its ids, `rank` is that of its priority, `most` is how many jobs, and `seconds` is how long one
    will keep a thread.
    """

    ids: tuple[str, ...]
    rank: int
    most: int
    group_size: int = 1
    seconds: float = 0.0


class Budget(NamedTuple):
    """How much may be claimed: `most` jobs at all.

    Of those that keep a thread so many seconds of work, but `least` of them in any case.
    """

    seconds: float
    least: int
    most: int


class _Job(NamedTuple):
    """One thing to start: a delivery, or the deliveries of one group."""

    rank: int
    turn: int
    due_at: int
    seconds: float
    deliveries: tuple[int, ...]


def claim(
    transaction: Transaction,
    worker: str,
    wanted: Sequence[Wanted],
    budget: Budget,
    floors: Floors | None = None,
) -> list[list[Claim]]:
    """Claim due jobs within a budget; each is one delivery or one group.

    High priority goes first; within one priority the subscriptions take turns, so that a backlog of one
    does not hold up the others.
    """
    now = transaction.now()
    floors = floors or Floors()
    rows = due_rows(
        transaction,
        [
            Request(identity, floors.since(identity), min(each.most, budget.most) * each.group_size)
            for each in wanted
            for identity in each.ids
        ],
        now,
    )
    for each in wanted:
        for identity in each.ids:
            floors.note(identity, rows[identity][0][1] if rows[identity] else now)
    jobs = [job for each in wanted for job in _jobs(transaction, each, rows, budget.most)]
    jobs.sort(key=lambda job: (job.rank, job.turn, job.due_at))
    return _take(transaction, worker, _affordable(jobs, budget), now)


def _affordable(jobs: Sequence[_Job], budget: Budget) -> list[tuple[int, ...]]:
    chosen: list[tuple[int, ...]] = []
    seconds, in_threads = 0.0, 0
    for job in jobs:
        if job.seconds:
            if in_threads >= budget.least and seconds >= budget.seconds:
                continue
            in_threads += 1
            seconds += job.seconds
        chosen.append(job.deliveries)
        if len(chosen) == budget.most:
            break
    return chosen


def claim_woken(
    transaction: Transaction, worker: str, deliveries: Sequence[int], subscriptions: Iterable[str]
) -> list[list[Claim]]:
    """Claim deliveries that an engine names, with those of their groups.

    What is not open any more, not due yet, or on its last chance is left out.
    """
    now = transaction.now()
    rows = transaction.rows(
        _WOKEN,
        {"ids": list(deliveries), "now": now, "below": ALONE_FROM, "subscriptions": list(subscriptions)},
    )
    jobs = [
        unit
        for subscription in dict.fromkeys(row[3] for row in rows)
        for _, unit in _grouped(
            transaction, subscription, [row[:3] for row in rows if row[3] == subscription]
        )
    ]
    return _take(transaction, worker, jobs, now)


def claim_suspect(
    transaction: Transaction, worker: str, subscriptions: Iterable[str], *, alone: bool
) -> list[Claim]:
    """Claim one delivery that was in hand when a process died; with `alone`, one on its last chance."""
    now = transaction.now()
    found = _suspect(transaction, f"{_SUSPECT} FOR UPDATE SKIP LOCKED", subscriptions, alone=alone)
    claims = _take(transaction, worker, [(found[0],)] if found and found[1] <= now else [], now)
    return claims[0] if claims else []


def next_suspect(transaction: Transaction, subscriptions: Iterable[str], *, alone: bool) -> int | None:
    """Return when the next suspect is due, in milliseconds since 1970."""
    found = _suspect(transaction, _SUSPECT, subscriptions, alone=alone)
    return found[1] if found else None


def _suspect(
    transaction: Transaction, sql: str, subscriptions: Iterable[str], *, alone: bool
) -> tuple[int, int] | None:
    bounds = (ALONE_FROM, CRASHES) if alone else (1, ALONE_FROM)
    found = transaction.rows(
        sql,
        {"least": bounds[0], "below": bounds[1], "subscriptions": list(subscriptions)},
    )
    return (found[0][0], found[0][1]) if found else None


def _jobs(transaction: Transaction, wanted: Wanted, due: Mapping[str, list[Row]], most: int) -> list[_Job]:
    limit = min(wanted.most, most)
    jobs: list[_Job] = []
    for subscription in wanted.ids:
        rows = due[subscription]
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
    token = secrets.randbits(62)
    transaction.run(_CLAIM, {"worker": worker, "token": token, "now": now, "ids": ids})
    rows = transaction.rows(_CLAIMED, {"token": token, "ids": ids})
    claims = {row[0]: claim_of(row, now) for row in rows}
    found = [[claims[delivery] for delivery in job if delivery in claims] for job in jobs]
    return [job for job in found if job]


def claim_of(row: Row, now: int) -> Claim:
    """Make a claim of a row with its columns, the last of which is since when the payload is refused."""
    if row[-1] is None:
        return Claim._make(row)
    return Claim._make((*row[:-1], timedelta(milliseconds=now - row[-1])))


def release_others(transaction: Transaction, worker: str, known: Sequence[int]) -> int:
    """Open again what a worker holds without knowing: claims of a commit whose end it did not hear.

    Returns how many.
    """
    return transaction.run(_RELEASE_OTHERS, {"worker": worker, "known": list(known)})


def close(transaction: Transaction, closes: Sequence[Close]) -> list[Close]:
    """Close claims and return those that were lost: their token is not the current one any more."""
    now = transaction.now()
    done: dict[tuple[int, str], list[Close]] = defaultdict(list)
    released: dict[int, list[Close]] = defaultdict(list)
    too_late: list[Close] = []
    for each in closes:
        if isinstance(each.result, Done):
            done[each.claim.token, each.result.outcome].append(each)
        elif isinstance(each.result, Released):
            released[each.claim.token].append(each)
        else:
            too_late += _fail(transaction, each, each.result, now)
    for (token, outcome), group in done.items():
        too_late += _close_many(transaction, _DONE, group, {"token": token, "outcome": outcome, "now": now})
    for token, group in released.items():
        too_late += _close_many(transaction, _RELEASE, group, {"token": token})
    return too_late


def close_once(transaction: Transaction, closes: Sequence[Close]) -> bool:
    """Close the claims of one call as done in the transaction of its effects; tell whether all were held.

    A claim that was closed before is not, whoever closed it: its effects are there already.
    """
    now = transaction.now()
    tokens = {(each.claim.token, each.result) for each in closes if isinstance(each.result, Done)}
    changed = sum(
        transaction.run(
            _DONE,
            {
                "ids": [each.claim.delivery for each in closes if each.claim.token == token],
                "token": token,
                "outcome": result.outcome,
                "now": now,
            },
        )
        for token, result in tokens
    )
    return changed == len(closes)


def _close_many(
    transaction: Transaction, sql: str, group: list[Close], parameters: dict[str, Any]
) -> list[Close]:
    """Close the claims of one token alike, in one statement."""
    ids = [each.claim.delivery for each in group]
    if transaction.run(sql, parameters | {"ids": ids}) == len(group):
        return []
    return lost(transaction, group)


def lost(transaction: Transaction, closes: Iterable[Close]) -> list[Close]:
    """Return those closes that can take no effect any more, and did not."""
    return [each for each in closes if not _is_closed(transaction, each)]


def _is_closed(transaction: Transaction, close: Close) -> bool:
    """Tell a close that took effect from one that came too late: the token stays on the row."""
    sql = "SELECT 1 FROM whereupon_delivery WHERE id = :id AND token = :token AND state <> 'claimed'"
    return bool(transaction.rows(sql, _key(close)))


def _fail(transaction: Transaction, close: Close, result: Retry | Waiting | Parked, now: int) -> list[Close]:
    """Write a failure, which stays on the delivery whether it is tried again or set aside."""
    key = _key(close)
    found = transaction.rows(_HISTORY_OF, key)
    if not found:
        return lost(transaction, [close])
    waited = _milliseconds(close.claim.refused_for or timedelta(0))
    ending: dict[str, Any]
    match result:
        case Parked():
            ending = {"state": "parked", "reason": result.reason, "due_at": now, "refused_at": None}
        case Waiting():
            ending = {"due_at": now + _milliseconds(result.delay), "refused_at": now - waited}
        case Retry():
            ending = {"due_at": now + _milliseconds(result.delay), "refused_at": None}
    spent = not isinstance(result, Waiting) and result.spends
    history = with_failure(found[0][0], now, close.claim.attempts + 1, result.error)
    failed = {"state": "open", "reason": None, "error": result.error, "spent": int(spent), "history": history}
    transaction.run(_FAIL, key | failed | ending)
    return []


def mark_overrunning(transaction: Transaction, claim: Claim, error: str) -> bool:
    """Note that a handler is over its time limit: a failed attempt, with the lease kept."""
    return bool(transaction.run(_OVERRUN, {"id": claim.delivery, "token": claim.token, "error": error}))


def with_failure(history: str | None, now: int, attempt: int | None, error: str) -> str:
    """Add one failure to the history of a delivery, which keeps the last `_HISTORY`.

    `attempt` is None for the death of a process, which spends none.
    """
    entries: list[Mapping[str, Any]] = json.loads(history or "[]")
    return json.dumps([*entries, {"at": now, "attempt": attempt, "error": error}][-_HISTORY:])


def _key(close: Close) -> dict[str, Any]:
    return {"id": close.claim.delivery, "token": close.claim.token}


def _milliseconds(delay: timedelta) -> int:
    return round(delay.total_seconds() * 1000)
