"""What runs beside Procrastinate's workers: the helper process, and the sweep of wake-ups that have ended.

Procrastinate keeps a job that has ended, and one whose worker died stays `doing` for ever. A wake-up is
needed by nobody then, so it is deleted; a job that carries an event is given back. The team's own jobs are
left alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from whereupon.engines.helper import Helper

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from procrastinate.worker import Worker

    from whereupon.engines.delivering import Deliverer

PAUSE: Final = 10.0
"""Seconds between two sweeps."""
_SECONDS: Final = 5.0  # that a sweep may take
_FEWEST, _MOST = 5, 32  # threads that Python's own pool has, by the machine

_DEAD: Final = """
    task_name = ANY(%(names)s::varchar[]) AND status = 'doing' AND NOT EXISTS (
        SELECT FROM procrastinate_workers
        WHERE id = worker_id AND last_heartbeat > now() - make_interval(secs => %(limit)s)
    )
"""
_LEFT: Final = """
    DELETE FROM procrastinate_jobs
    WHERE task_name = ANY(%(names)s::varchar[]) AND status NOT IN ('todo', 'doing')
"""
_ENDED: Final = """
    DELETE FROM procrastinate_jobs WHERE id = ANY(%(ids)s::bigint[]) AND status NOT IN ('todo', 'doing')
"""
_ABANDONED: Final = f"DELETE FROM procrastinate_jobs WHERE {_DEAD}"  # noqa: S608 - constants
_GIVEN_BACK: Final = f"""
    UPDATE procrastinate_jobs SET
        status = (CASE WHEN abort_requested THEN 'failed' ELSE 'todo' END)::procrastinate_job_status,
        attempts = attempts + 1, scheduled_at = now()
    WHERE {_DEAD} RETURNING task_name, id
"""  # noqa: S608

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

    async def go_on(self, worker: Worker) -> None:
        """Sweep until this is cancelled."""
        await self._swept(worker, _LEFT, names=self._names)
        while True:
            limit = worker.stalled_worker_timeout
            await self._swept(worker, _ABANDONED, names=self._names, limit=limit)
            await asyncio.sleep(PAUSE)
            await self.sweep(worker)

    async def sweep(self, worker: Worker) -> None:
        """Delete what has ended, twice, as Procrastinate notes the end of a job a little later."""
        ids = [*self._before, *self._run]
        self._before, self._run = self._run, []
        if ids:
            await self._swept(worker, _ENDED, ids=ids)

    async def _swept(self, worker: Worker, statement: Any, **arguments: Any) -> None:
        try:
            async with asyncio.timeout(_SECONDS):
                await worker.app.connector.execute_query_async(statement, **arguments)
        except Exception as error:  # noqa: BLE001 - what is left is swept another time
            _log.warning("wake-ups that have ended could not be deleted: %r", error.__cause__ or error)


class Beside:
    """Starts the helper with the first worker of this process, and stops it with the last one.

    `find` returns the name of the store. Raises `InvalidConfiguration` where no helper could do its work.
    """

    def __init__(self, find: Callable[[], str], deliverer: Deliverer, sweep: Sweep) -> None:
        self._find = find
        self._deliverer = deliverer
        self._sweep = sweep
        self._helper: Helper | None = None
        self._workers = 0

    @contextlib.asynccontextmanager
    async def help(self, worker: Worker) -> AsyncIterator[None]:
        """Help one worker for as long as it runs."""
        self._helper = self._helper or Helper(self._find())
        self._workers += 1
        sweeping = asyncio.create_task(self._sweep.go_on(worker))
        try:
            yield
        finally:
            sweeping.cancel()
            self._workers -= 1
            if not self._workers:
                await self._end(worker)

    async def _end(self, worker: Worker) -> None:
        helper, self._helper = self._helper, None
        await self._sweep.sweep(worker)
        if helper is not None:
            await asyncio.to_thread(helper.stop)
        await asyncio.to_thread(self._deliverer.close)


class Rescue:
    """Gives jobs back that a dead worker had in hand, where no ledger does. Runs beside each worker."""

    def __init__(self, names: list[str]) -> None:
        self._names = names

    @contextlib.asynccontextmanager
    async def help(self, worker: Worker) -> AsyncIterator[None]:
        """Look after the jobs of others for as long as a worker runs."""
        rescuing = asyncio.create_task(self._go_on(worker))
        try:
            yield
        finally:
            rescuing.cancel()

    async def _go_on(self, worker: Worker) -> None:
        while True:
            try:
                async with asyncio.timeout(_SECONDS):
                    await self.rescue(worker)
            except Exception as error:  # noqa: BLE001 - they are given back another time
                _log.warning("jobs of dead workers could not be given back: %r", error.__cause__ or error)
            await asyncio.sleep(PAUSE)

    async def rescue(self, worker: Worker) -> None:
        """Give back what is left behind. Of several workers that do this at once, one finds a job."""
        connector: Any = worker.app.connector
        limit = worker.stalled_worker_timeout
        for row in await connector.execute_query_all_async(_GIVEN_BACK, names=self._names, limit=limit):
            _log.warning("%s[%s] had a worker that died, and is given back", row["task_name"], row["id"])


def help_workers(app: Any, beside: Callable[[Worker], AbstractAsyncContextManager[None]]) -> None:
    """Let something run beside each worker of an application, however that is started."""
    make = app._worker  # noqa: SLF001 - Procrastinate's: all workers are made here, behind import_paths=

    def make_helped(**options: Any) -> Any:
        worker = make(**options)
        run = worker.run

        async def run_helped() -> None:
            _make_room(worker)
            async with beside(worker):
                await run()

        worker.run = run_helped
        return worker

    app._worker = make_helped  # noqa: SLF001


def _make_room(worker: Worker) -> None:
    """Let as many functions run at once as a worker takes jobs. Python's own pool may have fewer threads."""
    if worker.concurrency > _FEWEST:
        pool = ThreadPoolExecutor(worker.concurrency + _MOST, thread_name_prefix="procrastinate")
        asyncio.get_running_loop().set_default_executor(pool)
