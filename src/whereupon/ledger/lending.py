"""The open transaction of a test, lent to an atomic subscriber that is delivered to in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class LentConnection:
    """A connection that is both what the subscriber gets and what its events join."""

    def __init__(self, connection: object) -> None:
        self.connection: Any = connection

    def argument(self, kind: type) -> object:
        """Return the connection, whatever the annotation says."""
        del kind
        return self.connection

    async def run(self, function: Callable[[], Any]) -> Any:
        """Call a subscriber that is a plain function from a coroutine."""
        return function()
