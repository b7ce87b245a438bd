"""Counting what is written to the sockets of this process, and for how many answers it waits."""

from __future__ import annotations

import contextlib
import socket
from itertools import pairwise
from unittest import mock


class Wire:
    """The calls on sockets, in order."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    @property
    def writes(self) -> int:
        return self.calls.count("write")

    @property
    def round_trips(self) -> int:
        """Return how often something was read after it had been written."""
        return sum(pair == ("write", "read") for pair in pairwise(self.calls))


@contextlib.contextmanager
def counted():
    """Give the wire, on which all calls of the block are counted."""
    wire = Wire()
    with contextlib.ExitStack() as stack:
        for name in ("send", "sendall", "recv", "recv_into"):
            original = getattr(socket.socket, name)

            def noted(*given, name=name, original=original):
                wire.calls.append("write" if name.startswith("send") else "read")
                return original(*given)

            stack.enter_context(mock.patch.object(socket.socket, name, noted))
        yield wire
