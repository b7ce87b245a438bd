"""The end of an atomic subscriber's call: its deliveries are closed with its effects, or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from whereupon.errors import LostClaim, NoTransaction
from whereupon.ledger import claims

if TYPE_CHECKING:
    from collections.abc import Sequence

    from whereupon.deliveries import Close
    from whereupon.ledger_protocol import Transaction


_ENDS: Final = frozenset({"COMMIT", "END", "ROLLBACK", "ABORT"})
_HEAD: Final = 64  # characters in which the first words of a statement are


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


def stopped() -> LostClaim:
    """Return the error of a subscriber that goes on behind its time limit."""
    return LostClaim(
        "an atomic subscriber ran over its time limit, so its transaction was rolled back",
        fix="nothing: it is tried again; make it faster, or raise timeout=",
    )


def refuse_end(sql: object) -> None:
    """Raise `NoTransaction` for a statement that ends a transaction; ROLLBACK TO a savepoint does not.

    One that hides behind a comment is noticed at the end of the call.
    """
    words = sql[:_HEAD].upper().replace(";", " ").split() if isinstance(sql, str) else ()
    if words and words[0] in _ENDS and not (words[0] == "ROLLBACK" and "TO" in words[1:3]):
        raise ended_early()


def ended_early() -> NoTransaction:
    """Return the error of a subscriber that ended its transaction by itself."""
    return NoTransaction(
        "an atomic subscriber has ended its transaction, so its effects and its delivery would commit apart",
        fix="leave commit and rollback to whereupon; raise to roll back, or take atomic=True away",
    )
