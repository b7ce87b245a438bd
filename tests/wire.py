"""Counting round trips on the sockets of this process."""

from __future__ import annotations

import contextlib
import socket
from itertools import pairwise
from unittest import mock


@contextlib.contextmanager
def counted_round_trips():
    """Give a function that tells how often something was read after it had been written."""
    calls = []
    with contextlib.ExitStack() as stack:
        for name in ("send", "sendall", "recv", "recv_into"):
            original = getattr(socket.socket, name)

            def counted(*given, name=name, original=original):
                calls.append("write" if name.startswith("send") else "read")
                return original(*given)

            stack.enter_context(mock.patch.object(socket.socket, name, counted))
        yield lambda: sum(pair == ("write", "read") for pair in pairwise(calls))
