"""Wake-ups: of which due deliveries an engine has been told, and of which it must be told again.

`woken_at` is when the last wake-up was sent; a claim clears it. What is open and woken is outstanding: it
lies in the engine's queue, or was lost there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from whereupon.ledger.claims import ALONE_FROM
from whereupon.ledger.due import Request, unsent_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from whereupon.ledger_protocol import Transaction

_OUTSTANDING: Final = """
    SELECT id, woken_at FROM whereupon_delivery
    WHERE state = 'open' AND woken_at IS NOT NULL AND subscription = ANY(:subscriptions)
"""
_SUSPECTS: Final = """
    SELECT id, subscription FROM whereupon_delivery
    WHERE state = 'open' AND crashes > 0 AND crashes < :below AND due_at <= :now AND woken_at IS NULL
        AND subscription = ANY(:subscriptions)
    ORDER BY due_at LIMIT :most
"""
_ANY_UNSENT: Final = """
    SELECT 1 FROM whereupon_delivery
    WHERE state = 'open' AND crashes = 0 AND due_at <= :now AND woken_at IS NULL
        AND subscription = ANY(:subscriptions)
    LIMIT 1
"""
# a relay waits for no worker, which may be waiting for the relay: what is being claimed is left out
_MARK: Final = """
    UPDATE whereupon_delivery SET woken_at = :now
    WHERE id IN (
        SELECT id FROM whereupon_delivery WHERE id = ANY(:ids) AND state = 'open' AND woken_at IS NULL
        FOR UPDATE SKIP LOCKED
    )
"""
_FORGET: Final = """
    UPDATE whereupon_delivery SET woken_at = NULL
    WHERE id IN (
        SELECT id FROM whereupon_delivery WHERE id = ANY(:ids) AND state = 'open' AND woken_at <= :until
        FOR UPDATE SKIP LOCKED
    )
"""
_LATEST: Final = """
    SELECT id FROM whereupon_delivery
    WHERE subscription = :subscription AND state = 'open' AND woken_at = :sent AND crashes = 0
    ORDER BY due_at DESC, id DESC LIMIT 1
"""
_LATEST_SUSPECT: Final = _LATEST.replace("crashes = 0", "crashes > 0")
_CLAIMED: Final = (
    "SELECT id, claimed_at FROM whereupon_delivery WHERE id = ANY(:ids) AND claimed_at >= :first"
)
_EVER: Final = 2**62


class Due(NamedTuple):
    """Due deliveries of which the engine has not been told: one id to wake, and all that it stands for.

    A group is woken by the first of its deliveries.
    """

    delivery: int
    subscription: str
    stands_for: tuple[int, ...]


def outstanding(transaction: Transaction, subscriptions: Sequence[str]) -> dict[int, int]:
    """Return the deliveries of which the engine was told and that nobody has claimed, with when."""
    rows = transaction.rows(_OUTSTANDING, {"subscriptions": list(subscriptions)})
    return {row[0]: row[1] for row in rows}


def is_any_unsent(transaction: Transaction, subscriptions: Sequence[str]) -> bool:
    """Tell, without locking anything, whether something is due and not outstanding."""
    due = {"now": transaction.now(), "subscriptions": list(subscriptions)}
    suspects = due | {"below": ALONE_FROM, "most": 1}
    return bool(transaction.rows(_ANY_UNSENT, due) or transaction.rows(_SUSPECTS, suspects))


def unsent(transaction: Transaction, subscriptions: Sequence[str], most: int) -> list[Due]:
    """Return what is due and not outstanding, at most so many deliveries, the first subscriptions first."""
    now = transaction.now()
    found = [
        Due(row[0], row[1], (row[0],))
        for row in transaction.rows(
            _SUSPECTS,
            {"below": ALONE_FROM, "now": now, "subscriptions": list(subscriptions), "most": most},
        )
    ]
    requests = [Request(each, 0, most) for each in subscriptions]
    rows = unsent_rows(transaction, requests, now)
    left = most - len(found)
    for subscription in subscriptions:
        units: dict[object, list[int]] = {}
        for delivery, _, group in rows[subscription][: max(0, left)]:
            units.setdefault(group or delivery, []).append(delivery)
        left -= sum(map(len, units.values()))
        found += [Due(each[0], subscription, tuple(each)) for each in units.values()]
    return found


def mark(transaction: Transaction, due: Sequence[Due]) -> int:
    """Note that the engine is told of deliveries, and return when, by the database's clock."""
    ids, now = [each for unit in due for each in unit.stands_for], transaction.now()
    transaction.run(_MARK, {"ids": ids, "now": now})
    return now


def forget(transaction: Transaction, deliveries: Sequence[int], until: int = _EVER) -> int:
    """Forget that the engine was told of deliveries, so that it is told again; return of how many.

    What it was told of after `until` stays as it is: another relay was faster.
    """
    return transaction.run(_FORGET, {"ids": list(deliveries), "until": until})


def claimed(transaction: Transaction, sent: Mapping[int, int]) -> list[int]:
    """Return which deliveries have been claimed since the engine was told of them, at these times."""
    if not sent:
        return []
    rows = transaction.rows(_CLAIMED, {"ids": list(sent), "first": min(sent.values())})
    return [delivery for delivery, claimed_at in rows if claimed_at >= sent[delivery]]


def recall_latest(transaction: Transaction, subscriptions: Sequence[str]) -> Due | None:
    """Forget of the last delivery that the engine was told of them, and return it; None if there is none.

    The last one in the order of `unsent`, in which suspects come first. A worker may claim it meanwhile.
    """
    sent = max(outstanding(transaction, subscriptions).values(), default=0)
    for sql in (_LATEST, _LATEST_SUSPECT):
        for subscription in reversed(subscriptions):
            for (delivery,) in transaction.rows(sql, {"subscription": subscription, "sent": sent}):
                forget(transaction, [delivery])
                return Due(delivery, subscription, (delivery,))
    return None


def take_turns(transaction: Transaction) -> None:
    """Wait until no other relay chooses what to send, so that together they keep the bound."""
    if transaction.dialect.name == "postgresql":
        transaction.rows("SELECT pg_advisory_xact_lock(hashtext('whereupon relay'))")
