"""What a worker of an engine tells the ledger in one go: what it has finished, and what it begins."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from whereupon.deliveries import Done
from whereupon.ledger import claims, rescue
from whereupon.ledger.dialect import NOW

if TYPE_CHECKING:
    from collections.abc import Sequence

    from whereupon.deliveries import Claim, Close
    from whereupon.ledger_protocol import Row, Transaction

# The order keeps two of them, or one and a rescue, from waiting for each other: `known` goes first, as in a
# rescue; then what may wait, which is `closed`; and `named`, which keeps locks of what it leaves out, last.
# `(SELECT CAST ...)` hides from the planner how long an array is, so that it need not plan anew each time;
# `state || ''` is no condition of a partial index: those of what is open or claimed are long where an old
# snapshot is held, and rows are looked up by their id here
_CLOSED: Final = """
    closed AS (
        UPDATE whereupon_delivery AS delivery
        SET state = 'done', outcome = ended.outcome, done_at = clock.now, worker = NULL, overrunning = 0
        FROM clock, unnest(
            (SELECT CAST(:ended AS bigint[])), (SELECT CAST(:tokens AS bigint[])),
            (SELECT CAST(:outcomes AS text[]))
        ) AS ended(id, token, outcome)
        WHERE delivery.id = ended.id AND delivery.state || '' = 'claimed' AND delivery.token = ended.token
            AND (SELECT count(*) FROM known) >= 0
        RETURNING delivery.id
    ),
"""
_EXCHANGE: Final = """
    WITH clock AS MATERIALIZED (NOW_AS_NOW),
    known AS MATERIALIZED (SELECT 1 FROM whereupon_worker WHERE id = :worker FOR KEY SHARE),
    CLOSED
    named AS MATERIALIZED (
        SELECT id, subscription, due_at, group_id FROM whereupon_delivery
        WHERE id = ANY(CAST((SELECT CAST(:ids AS bigint[])) AS bigint[])) AND state || '' = 'open'
            AND due_at <= (SELECT now FROM clock) AND crashes < :below
            AND subscription = ANY(:subscriptions) AND EXISTS (SELECT 1 FROM known)
            AND (SELECT count(*) FROM COUNTED) >= 0
        FOR UPDATE SKIP LOCKED
    ),
    grouped AS MATERIALIZED (
        SELECT member.id FROM named JOIN whereupon_delivery AS member
            ON member.subscription = named.subscription AND member.due_at = named.due_at
        WHERE named.group_id IS NOT NULL AND member.group_id = named.group_id AND member.state = 'open'
            AND member.crashes = 0
        FOR UPDATE OF member SKIP LOCKED
    ),
    claimed AS (
        UPDATE whereupon_delivery AS delivery
        SET state = 'claimed', worker = :worker, token = :token, claimed_at = clock.now, woken_at = NULL
        FROM clock, (SELECT id FROM named UNION SELECT id FROM grouped) AS taken
        WHERE delivery.id = taken.id
        RETURNING delivery.id, event_id, subscription, token, attempts, crashes, group_id, recheck, refused_at
    )
    SELECT (SELECT count(*) FROM known), (SELECT count(*) FROM COUNTED), clock.now, claimed.id, event_id,
        subscription, token, attempts, crashes, coalesce(envelope, ''), group_id, recheck, refused_at
    FROM clock LEFT JOIN claimed ON true LEFT JOIN whereupon_event AS event ON event.id = event_id
""".replace("NOW_AS_NOW", f"{NOW} AS now")
_CLAIM: Final = _EXCHANGE.replace("CLOSED", "").replace("COUNTED", "clock WHERE false")
_CLOSE_AND_CLAIM: Final = _EXCHANGE.replace("CLOSED", _CLOSED).replace("COUNTED", "closed")


class Exchanged(NamedTuple):
    """What came of an exchange.

    - `is_known`: whether the ledger knows the worker; nothing is claimed if it does not
    - `jobs`: what was claimed; each is one delivery or one group
    - `lost`: closes that came too late, as another worker has the delivery by now
    """

    is_known: bool
    jobs: list[list[Claim]]
    lost: list[Close]


def exchange(
    transaction: Transaction,
    worker: str,
    closes: Sequence[Close],
    deliveries: Sequence[int],
    subscriptions: Sequence[str],
) -> Exchanged:
    """Close what is done, and claim what an engine names with its groups, as `claim_woken` does.

    All of `closes` are `Done`. In one statement on PostgreSQL, so that it needs no transaction around it.
    """
    if transaction.dialect.name != "postgresql":
        return _exchange_step_by_step(transaction, worker, closes, deliveries, subscriptions)
    parameters: dict[str, Any] = {
        "worker": worker,
        "token": secrets.randbits(62),
        "below": claims.ALONE_FROM,
        "ids": list(deliveries),
        "subscriptions": list(subscriptions),
    }
    if not closes:
        return _exchanged(transaction.rows(_CLAIM, parameters), [])
    rows = transaction.rows(_CLOSE_AND_CLAIM, parameters | _columns(closes))
    return _exchanged(rows, [] if rows[0][1] == len(closes) else claims.lost(transaction, closes))


def _columns(closes: Sequence[Close]) -> dict[str, list[Any]]:
    return {
        "ended": [each.claim.delivery for each in closes],
        "tokens": [each.claim.token for each in closes],
        "outcomes": [each.result.outcome for each in closes if isinstance(each.result, Done)],
    }


def _exchanged(rows: Sequence[Row], lost: list[Close]) -> Exchanged:
    jobs: dict[object, list[Claim]] = {}
    for row in sorted(rows, key=lambda row: row[3] or 0):
        if row[3] is not None:
            claim = claims.claim_of(row[3:], row[2])
            jobs.setdefault(claim.group or claim.delivery, []).append(claim)
    return Exchanged(bool(rows[0][0]), list(jobs.values()), lost)


def _exchange_step_by_step(
    transaction: Transaction,
    worker: str,
    closes: Sequence[Close],
    deliveries: Sequence[int],
    subscriptions: Sequence[str],
) -> Exchanged:
    lost = claims.close(transaction, closes)
    if rescue.lease(transaction, worker) is None:
        return Exchanged(is_known=False, jobs=[], lost=lost)
    jobs = claims.claim_woken(transaction, worker, deliveries, subscriptions) if deliveries else []
    return Exchanged(is_known=True, jobs=jobs, lost=lost)
