"""The transaction of an atomic subscriber, which only whereupon ends."""

from __future__ import annotations

from sqlalchemy import Connection, event

from whereupon.ledger.finishing import ended_early


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
