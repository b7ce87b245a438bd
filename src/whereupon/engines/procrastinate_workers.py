"""What runs beside Procrastinate's workers: the helper process, and the sweep of wake-ups that have ended.

Procrastinate keeps a job that has ended, and one whose worker died stays `doing` for ever. A wake-up is
needed by nobody then, so it is deleted; the team's own jobs are left alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any, Final

from whereupon.engines.helper import Helper

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from procrastinate import App

    from whereupon.engines.delivering import Deliverer

PAUSE: Final = 10.0
"""Seconds between two sweeps."""
_SECONDS: Final = 5.0  # that a sweep may take
STALLED: Final = 300
"""Seconds without a heartbeat after which a worker counts as dead, and its wake-ups are swept."""

_LEFT: Final = """
    DELETE FROM procrastinate_jobs
    WHERE task_name = ANY(%(names)s::varchar[]) AND status NOT IN ('todo', 'doing')
"""
_ENDED: Final = """
    DELETE FROM procrastinate_jobs WHERE id = ANY(%(ids)s::bigint[]) AND status NOT IN ('todo', 'doing')
"""
_ABANDONED: Final = """
    DELETE FROM procrastinate_jobs
    WHERE task_name = ANY(%(names)s::varchar[]) AND status = 'doing' AND NOT EXISTS (
        SELECT FROM procrastinate_workers
        WHERE id = worker_id AND last_heartbeat > now() - make_interval(secs => %(stalled)s)
    )
"""

_log = logging.getLogger("whereupon.procrastinate")


class Sweep:
    """Deletes the wake-ups that this process has run, and at its start those that others have left."""

    def __init__(self, names: list[str]) -> None:
        self._names = names
        self._run: list[int] = []
        self._before: list[int] = []

    def note(self, job: int | None) -> None:
        """Remember a job that is about to end, on whatever thread it runs."""
        if job is not None:
            self._run.append(job)

    async def go_on(self, app: App) -> None:
        """Sweep until this is cancelled."""
        await self._swept(app, _LEFT, names=self._names)
        while True:
            await self._swept(app, _ABANDONED, names=self._names, stalled=STALLED)
            await asyncio.sleep(PAUSE)
            await self.sweep(app)

    async def sweep(self, app: App) -> None:
        """Delete what has ended, twice, as Procrastinate notes the end of a job a little later."""
        ids = [*self._before, *self._run]
        self._before, self._run = self._run, []
        if ids:
            await self._swept(app, _ENDED, ids=ids)

    async def _swept(self, app: App, statement: Any, **arguments: Any) -> None:
        try:
            async with asyncio.timeout(_SECONDS):
                await app.connector.execute_query_async(statement, **arguments)
        except Exception as error:  # noqa: BLE001 - what is left is swept another time
            _log.warning("wake-ups that have ended could not be deleted: %r", error.__cause__ or error)


class Beside:
    """Starts the helper with the first worker of this process, and stops it with the last one.

    `find` returns the name of the store. Raises `InvalidConfiguration` where no helper could do its work.
    """

    def __init__(self, find: Callable[[], str], deliverer: Deliverer, sweep: Sweep) -> None:
        self.find = find
        self._deliverer = deliverer
        self._sweep = sweep
        self._helper: Helper | None = None
        self._workers = 0

    @contextlib.asynccontextmanager
    async def running(self, app: App) -> AsyncIterator[None]:
        """Help one worker for as long as it runs."""
        self._helper = self._helper or Helper(self.find())
        self._workers += 1
        sweeping = asyncio.create_task(self._sweep.go_on(app))
        try:
            yield
        finally:
            sweeping.cancel()
            self._workers -= 1
            if not self._workers:
                await self._end(app)

    async def _end(self, app: App) -> None:
        helper, self._helper = self._helper, None
        await self._sweep.sweep(app)
        if helper is not None:
            await asyncio.to_thread(helper.stop)
        await asyncio.to_thread(self._deliverer.close)


def help_workers(app: Any, beside: Beside) -> None:
    """Let something run beside each worker of an application, however that is started.

    A worker for which no helper could find the store does not start.
    """
    make = app._worker  # noqa: SLF001 - Procrastinate's: all workers are made here, behind import_paths=

    def make_helped(**options: Any) -> Any:
        beside.find()
        worker = make(**options)
        run = worker.run

        async def run_helped() -> None:
            async with beside.running(app):
                await run()

        worker.run = run_helped
        return worker

    app._worker = make_helped  # noqa: SLF001
