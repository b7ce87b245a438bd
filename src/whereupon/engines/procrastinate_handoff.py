"""Procrastinate without a ledger: jobs carry the events, and are written in the caller's own transaction."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from asgiref.sync import sync_to_async
from procrastinate import PsycopgConnector, RetryStrategy, SyncPsycopgConnector
from procrastinate.jobs import DeleteJobCondition
from procrastinate.jobs import Job as NativeJob
from procrastinate.manager import JobManager

from whereupon.engines.jobs import ARGUMENT, job_name
from whereupon.engines.procrastinate_psycopg import (
    is_awaited,
    joinable,
    place_of,
    refuse_coroutines,
    translated,
)
from whereupon.engines.receiving import argument_of
from whereupon.errors import EngineUnavailable, NoTransaction
from whereupon.ledger.psycopg_connection import describe

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import procrastinate

    from whereupon.engine_protocol import Message
    from whereupon.engines.jobs import Job
    from whereupon.engines.procrastinate_psycopg import Connections
    from whereupon.engines.receiving import Receiver
    from whereupon.ledger_protocol import Finding
    from whereupon.subscribers import Priority

PRIORITIES: Final[dict[Priority, int]] = {"high": 10, "normal": 0, "low": -10}
PROMISE: Final = (
    "Procrastinate's own: a job commits with the business rows, and is handled at least once while workers "
    "run; an event whose last attempt fails is a failed job"
)
AGAIN: Final = RetryStrategy(wait=5, retry_exceptions=[EngineUnavailable])
"""A job that could not send what is to be tried again is run again as a whole."""

_log = logging.getLogger("whereupon.publish")


class Sender:
    """Writes jobs that carry events: in the transaction of the caller, or on a connection of our own."""

    def __init__(self, connector: Any, connections: Connections, *, strict: bool) -> None:
        self._connector = connector
        self._connections = connections
        self._strict = strict
        self._jobs = JobManager(SyncPsycopgConnector())  # which are given a connection with each call
        self._awaited = JobManager(PsycopgConnector())

    def send(self, messages: Sequence[Message], on: object | None) -> None:
        """Write jobs in the transaction of `on`, or in Django's current one.

        Raises `EngineUnavailable`, `NoTransaction`, `WrongConnection`.
        """
        jobs = [job_of(each) for each in messages]
        if self._is_django(on):
            self._send_by_django(jobs)
            return
        connection = refuse_coroutines(joinable(on))
        with translated(place_of(connection)):
            self._jobs.batch_defer_jobs(jobs, connection=connection)

    async def asend(self, messages: Sequence[Message], on: object | None) -> None:
        """Write jobs without blocking, where the connection is one of coroutines, or Django's."""
        jobs = [job_of(each) for each in messages]
        if self._is_django(on):
            await sync_to_async(self._send_by_django)(jobs)
            return
        connection = joinable(on)
        with translated(place_of(connection)):
            if is_awaited(connection):
                await self._awaited.batch_defer_jobs_async(jobs, connection=connection)
            else:
                self._jobs.batch_defer_jobs(jobs, connection=connection)

    def send_again(self, messages: Sequence[Message]) -> None:
        """Write jobs in a transaction of their own. Raises `EngineUnavailable`."""
        with self._connections.lent() as connection:
            self._jobs.batch_defer_jobs([job_of(each) for each in messages], connection=connection)

    def _is_django(self, on: object | None) -> bool:
        """Tell whether Django's own connection is meant, which knows its transaction."""
        alias = getattr(self._connector, "alias", None)
        return alias is not None and (on is None or getattr(on, "alias", on) == alias)

    def _send_by_django(self, jobs: list[NativeJob]) -> None:
        connection = self._connector.connection
        if not _is_in_transaction(connection):
            if self._strict:
                raise NoTransaction(
                    "there is no transaction that the event could commit with",
                    fix="write the business rows and publish inside `with transaction.atomic():`",
                )
            names = ", ".join(sorted({each.task_name for each in jobs}))
            _log.warning("published outside of a transaction, so jobs of %s are committed alone", names)
        with translated(describe(self._connections.conninfo())):
            JobManager(self._connector).batch_defer_jobs(jobs)


def _is_in_transaction(connection: Any) -> bool:
    """Tell whether Django's connection is in one that is not of a `TestCase`."""
    if connection.in_atomic_block:
        return any(not each._from_testcase for each in connection.atomic_blocks)  # noqa: SLF001 - Django's
    return not connection.get_autocommit()


def job_of(message: Message) -> NativeJob:
    """Write a message as a job."""
    options = message.subscriber.options
    return NativeJob(
        task_name=job_name(message.subscriber),
        queue=options.queue,
        priority=PRIORITIES[options.priority],
        task_kwargs={ARGUMENT: argument_of(message)},
        scheduled_at=datetime.now(UTC) + message.delay if message.delay else None,
        lock=None,
        queueing_lock=None,
    )


def receive(receiver: Receiver, sender: Sender, message: Message, job: Job) -> None:
    """Handle a message within its job, and send again what is to be tried again.

    Raises `DeliveryFailed` where events are set aside, and `EngineUnavailable`.
    """
    found = receiver.receive(message, job.subscriptions)
    if found.again:
        sender.send_again(found.again)
    if found.parked:
        raise found.error(job.name)


def findings(app: procrastinate.App) -> Iterator[Finding]:
    """Yield what may surprise a team whose events Procrastinate carries alone."""
    yield (
        "warning",
        "Procrastinate's workers write the arguments of jobs, and so the payloads, into their log",
    )
    if app.worker_defaults.get("delete_jobs") in {"always", DeleteJobCondition.ALWAYS}:
        yield (
            "warning",
            "delete_jobs of the workers is always: an event whose last attempt fails leaves no trace",
        )
