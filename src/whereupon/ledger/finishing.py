"""The end of an atomic subscriber's call: its deliveries are closed with its effects, or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from whereupon.errors import LostClaim, NoTransaction
from whereupon.ledger import claims

if TYPE_CHECKING:
    from collections.abc import Sequence

    from whereupon.deliveries import Close
    from whereupon.ledger_protocol import Transaction


def finish(transaction: Transaction, closes: Sequence[Close]) -> None:
    """Close deliveries inside the transaction of their effects. Raises `LostClaim`."""
    if not claims.close_once(transaction, closes):
        raise lost_claim(closes)


def lost_claim(closes: Sequence[Close]) -> LostClaim:
    """Return the error of a call whose deliveries another worker has by now, or has had."""
    return LostClaim(
        f"delivery {closes[0].claim.delivery} is not held by this worker any more",
        fix="nothing: its effects were rolled back, and the worker that holds it handles it",
    )


def ended_early() -> NoTransaction:
    """Return the error of a subscriber that ended its transaction by itself."""
    return NoTransaction(
        "an atomic subscriber has ended its transaction, so its effects and its delivery would commit apart",
        fix="leave commit and rollback to whereupon; raise to roll back, or take atomic=True away",
    )
