"""The transaction of an atomic subscriber: what the subscriber gets, and that only whereupon ends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, event

from whereupon.errors import LostClaim, NoTransaction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from whereupon.deliveries import Close


class Guard:
    """Refuses COMMIT and ROLLBACK on a connection until `lift` is called. Savepoints are not refused."""

    def __init__(self, connection: Connection) -> None:
        self._is_lifted = False
        event.listen(connection, "commit", self._refuse)
        event.listen(connection, "rollback", self._refuse)

    def lift(self) -> None:
        """Let the transaction be ended."""
        self._is_lifted = True

    def _refuse(self, connection: Connection) -> None:
        del connection
        if not self._is_lifted:
            raise ended_early()


def ended_early() -> NoTransaction:
    """Return the error of a subscriber that ends its transaction."""
    return NoTransaction(
        "an atomic subscriber ended its transaction, so its effects and its delivery would commit apart",
        fix="leave commit and rollback to whereupon; raise to roll back, or take atomic=True away",
    )


def lost_claim(lost: Sequence[Close]) -> LostClaim:
    """Return the error of a delivery that another worker has by now."""
    return LostClaim(
        f"delivery {lost[0].claim.delivery} is not held by this worker any more",
        fix="nothing: its effects were rolled back, and the worker that holds it handles it",
    )
