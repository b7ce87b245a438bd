"""Looking for what is due: the first rows of each subscription, through an index that begins with it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from whereupon.ledger_protocol import Row, Transaction

_DUE: Final = """
    SELECT id, due_at, group_id FROM whereupon_delivery
    WHERE subscription = :subscription AND state = 'open' AND crashes = 0 AND due_at >= :since
        AND due_at <= :now
    ORDER BY due_at, id LIMIT :most
"""
_UNSENT: Final = _DUE.replace("ORDER BY", "AND woken_at IS NULL ORDER BY")
_NEXT: Final = """
    SELECT due_at FROM whereupon_delivery
    WHERE subscription = :subscription AND state = 'open' AND crashes = 0 AND due_at >= :since
    ORDER BY due_at LIMIT 1
"""
_EACH: Final = """
    unnest(CAST(:subscriptions AS text[]), CAST(:sinces AS bigint[]), CAST(:mosts AS bigint[]))
        AS wanted(subscription, since, most)
"""
_UNSENT_OF_EACH: Final = f"""
    SELECT wanted.subscription, due.id, due.due_at, due.group_id FROM {_EACH} CROSS JOIN LATERAL (
        SELECT id, due_at, group_id FROM whereupon_delivery
        WHERE subscription = wanted.subscription AND state = 'open' AND crashes = 0
            AND due_at >= wanted.since AND due_at <= :now AND woken_at IS NULL
        ORDER BY due_at, id LIMIT wanted.most
    ) AS due
"""
_DUE_OF_EACH: Final = _UNSENT_OF_EACH.replace("AND woken_at IS NULL", "").replace(
    "LIMIT wanted.most", "LIMIT wanted.most FOR UPDATE SKIP LOCKED"
)
_NEXT_OF_EACH: Final = f"""
    SELECT min(next.due_at) FROM {_EACH} CROSS JOIN LATERAL (
        SELECT due_at FROM whereupon_delivery
        WHERE subscription = wanted.subscription AND state = 'open' AND crashes = 0
            AND due_at >= wanted.since
        ORDER BY due_at LIMIT wanted.most
    ) AS next
"""


class Request(NamedTuple):
    """What one id of a subscription is asked for: `most` rows that are due at `since` or later."""

    subscription: str
    since: int
    most: int


class Floors:
    """From which due time on a worker looks for deliveries, so that it steps over no rows that are done.

    While an old snapshot is held (a dump, a forgotten transaction), PostgreSQL keeps the index entries of all
    that has been done since, and a look from the beginning takes ever longer. So a worker goes on from what
    was due first at its last look, and `SLACK` milliseconds before, as transactions commit out of order.
    Once in `WHOLE` seconds it looks from the beginning, for what was committed later still or handed back.
    """

    SLACK: Final = 1_000
    WHOLE: Final = 1.0

    def __init__(self) -> None:
        self._floors: dict[str, int] = {}
        self._whole_at = 0.0

    def renew(self) -> None:
        """Forget the floors when it is time for a look from the beginning."""
        now = time.monotonic()
        if now >= self._whole_at:
            self._floors.clear()
            self._whole_at = now + self.WHOLE

    def since(self, subscription: str) -> int:
        """Return the due time from which to look, in milliseconds since 1970."""
        return self._floors.get(subscription, 0)

    def note(self, subscription: str, first_due: int) -> None:
        """Note that nothing that could be seen was due earlier."""
        self._floors[subscription] = first_due - self.SLACK


def next_due(
    transaction: Transaction, subscriptions: Iterable[str], floors: Floors | None = None
) -> int | None:
    """Return when the next open delivery of these subscriptions is due, in milliseconds since 1970."""
    since = floors.since if floors else Floors().since
    requests = [Request(each, since(each), 1) for each in subscriptions]
    if transaction.dialect.name == "postgresql":
        moments = [
            row[0] for row in transaction.rows(_NEXT_OF_EACH, _columns(requests)) if row[0] is not None
        ]
    else:
        moments = [row[0] for each in requests for row in transaction.rows(_NEXT, each._asdict())]
    return min(moments, default=None)


def due_rows(transaction: Transaction, requests: Sequence[Request], now: int) -> dict[str, list[Row]]:
    """Return id, due time and group of what is due, by subscription, locked where there are row locks.

    In one statement on PostgreSQL.
    """
    return _rows(transaction, requests, now, _DUE, _DUE_OF_EACH)


def unsent_rows(transaction: Transaction, requests: Sequence[Request], now: int) -> dict[str, list[Row]]:
    """Return the same of that of which no engine has been told, without locks."""
    return _rows(transaction, requests, now, _UNSENT, _UNSENT_OF_EACH)


def _rows(
    transaction: Transaction, requests: Sequence[Request], now: int, single: str, of_each: str
) -> dict[str, list[Row]]:
    if transaction.dialect.name != "postgresql":
        return {
            each.subscription: transaction.rows(single, each._asdict() | {"now": now}) for each in requests
        }
    found: dict[str, list[Row]] = {each.subscription: [] for each in requests}
    for subscription, *row in transaction.rows(of_each, _columns(requests) | {"now": now}):
        found[subscription].append(tuple(row))
    return found


def _columns(requests: Sequence[Request]) -> dict[str, list[Any]]:
    return {
        "subscriptions": [each.subscription for each in requests],
        "sinces": [each.since for each in requests],
        "mosts": [each.most for each in requests],
    }
