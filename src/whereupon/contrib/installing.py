"""Installing a store when an application starts, which in tests happens again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from whereupon.store import installed

if TYPE_CHECKING:
    from whereupon.store import EventStore


def install(store: EventStore) -> bool:
    """Install a store; tell whether it was not there before. A recorder of it, as in tests, stays."""
    current = installed()
    if current is not None and current.subscriptions is store.subscriptions:
        return False
    store.install()
    return True
