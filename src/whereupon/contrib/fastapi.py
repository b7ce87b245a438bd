"""Starting and ending with an application of FastAPI, or of anything else that Starlette runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from whereupon.contrib.installing import install
from whereupon.engines.beside import name_of
from whereupon.engines.local.beside import WorkerBeside
from whereupon.store import swap

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from whereupon.store import EventStore

Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]


def lifespan(
    store: EventStore,
    *,
    worker: bool = False,
    store_name: str | None = None,
    wraps: Lifespan | None = None,
) -> Lifespan:
    """Return what `FastAPI(lifespan=...)` takes: it installs the store and looks whether its ledger is there.

    - `worker`: run local workers beside the application, in processes that end with it
    - `store_name`: under which name they import the store, where it cannot be found: "shop.event_store:store"
    - `wraps`: the application's own lifespan; it starts before the ledger is looked for, so it may make the
      tables, and what it yields is passed on

    On start the application raises `StoreConflict`, `LedgerMissing`, `LedgerVersion`, `LedgerUnavailable`,
    `InvalidConfiguration`.
    """

    @asynccontextmanager
    async def running(app: Any) -> AsyncIterator[Any]:
        async with AsyncExitStack() as stack:
            if install(store):
                stack.callback(swap, None)
            state = await stack.enter_async_context(wraps(app)) if wraps is not None else None
            await asyncio.to_thread(look_for_ledger, store)
            if worker:
                beside = WorkerBeside(name_of(store, store_name))
                stack.push_async_callback(asyncio.to_thread, beside.stop)
            yield state

    return running


def look_for_ledger(store: EventStore) -> None:
    """Open and close a connection to the ledger, if any; `LedgerMissing`, `LedgerVersion` and others pass."""
    if store.is_tracked:
        store.ledger.connect().close()
