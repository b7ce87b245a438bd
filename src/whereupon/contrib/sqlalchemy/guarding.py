"""The transaction of an atomic subscriber, which only whereupon ends."""

from __future__ import annotations

from sqlalchemy import Connection, event

from whereupon.ledger.finishing import ended_early, refuse_end, stopped


class Guard:
    """Refuses COMMIT and ROLLBACK on a connection until `lift` is called. Savepoints are not refused.

    Behind `stop` it refuses everything, and what was interrupted meanwhile.
    """

    def __init__(self, connection: Connection) -> None:
        self._is_stopped = self._is_lifted = False
        event.listen(connection, "commit", self._refuse)
        event.listen(connection, "rollback", self._refuse)
        event.listen(connection, "before_cursor_execute", self._refuse_statement)
        event.listen(connection, "after_cursor_execute", self._refuse_statement)

    def stop(self) -> None:
        """Begin no more statements. May be called from another thread."""
        self._is_stopped = True

    def lift(self) -> None:
        """Let the transaction be ended."""
        self._is_lifted = True

    def _refuse_statement(self, connection: Connection, cursor: object, sql: str, *_: object) -> None:
        del connection, cursor
        if self._is_lifted:
            return
        if self._is_stopped:
            raise stopped()
        refuse_end(sql)

    def _refuse(self, connection: Connection) -> None:
        del connection
        if not self._is_lifted:
            raise ended_early()
