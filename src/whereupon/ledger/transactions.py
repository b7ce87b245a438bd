"""What subscribers may ask of a ledger's transactions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from whereupon.errors import InvalidSubscriber
from whereupon.subscribers import needs_transaction
from whereupon.subscriptions import location

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from whereupon.errors import WhereuponError
    from whereupon.subscriptions import Subscription


def transaction_faults(
    subscription: Subscription, kinds: Sequence[type], async_kinds: Sequence[type] = ()
) -> Iterator[WhereuponError]:
    """Yield the parameters that the transaction of a ledger cannot fill.

    `kinds` are for functions, `async_kinds` for coroutine functions.
    """
    subscriber = subscription.subscriber
    where = location(subscription)
    allowed = async_kinds if subscriber.is_async else kinds
    names = " or ".join(f"{each.__module__.partition('.')[0]}.{each.__name__}" for each in allowed)
    for kind in needs_transaction(subscriber):
        if kind not in allowed:
            yield InvalidSubscriber(
                f"nothing fills a parameter annotated {kind.__name__} of {subscriber.name}",
                where=where,
                fix="with this ledger, annotate Envelope"
                + (f", or {names} with atomic=True" if allowed else ", and publish joins by itself"),
            )
    if subscriber.options.atomic and subscriber.is_async and not async_kinds:
        yield InvalidSubscriber(
            f"{subscriber.name} is async and atomic, and this ledger has no async transaction",
            where=where,
            fix="make it a plain function, which runs in a thread",
        )
