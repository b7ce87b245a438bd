"""What whereupon is measured against. Peers are optional: they are imported when their row runs."""

from __future__ import annotations

import importlib
from typing import Any


class PeerMissing(Exception):
    """A peer is not installed."""


def import_peer(name: str) -> Any:
    """Import a module of a peer. Raises `PeerMissing`."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise PeerMissing(f"{name} is not installed: pip install -e '.[bench]'") from error
