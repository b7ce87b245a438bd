"""Procrastinate: each subscriber is a task of its own, on the workers that a team runs already.

A job carries the id of a delivery only, and is deleted when it has ended: what a dead worker had in hand
comes back from the ledger.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from procrastinate import SyncPsycopgConnector
from procrastinate.exceptions import TaskAlreadyRegistered
from procrastinate.jobs import Job as NativeJob
from procrastinate.manager import JobManager

from whereupon.engine_protocol import Features
from whereupon.engines import procrastinate_handoff
from whereupon.engines.beside import name_of
from whereupon.engines.delivering import Deliverer
from whereupon.engines.jobs import ARGUMENT, Job, checked, job_name, jobs_of
from whereupon.engines.procrastinate_handoff import AGAIN, PRIORITIES, PROMISE, Sender
from whereupon.engines.procrastinate_psycopg import Connections
from whereupon.engines.procrastinate_workers import Beside, Rescue, Sweep, help_workers
from whereupon.engines.receiving import Receiver, message_in
from whereupon.errors import EngineUnavailable, InvalidConfiguration, InvalidSubscriber
from whereupon.ledger.psycopg_connection import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import procrastinate
    from procrastinate import JobContext

    from whereupon.engine_protocol import Message, WakeUp
    from whereupon.errors import WhereuponError
    from whereupon.ledger_protocol import Finding
    from whereupon.store import EventStore
    from whereupon.subscribers import Subscriber
    from whereupon.subscriptions import Subscription

_LIMIT: Final = 128  # characters in the name of a task or a queue
_ALIVE: Final = """
    SELECT count(*) FROM procrastinate_workers WHERE last_heartbeat > now() - interval '60 seconds'
"""
_UNTOUCHED: Final = """
    SELECT queue_name FROM procrastinate_jobs
    WHERE queue_name = ANY(%(queues)s::varchar[])
        AND (status = 'doing' OR status = 'todo' AND task_name = ANY(%(names)s::varchar[]))
    GROUP BY queue_name
    HAVING bool_and(status = 'todo') AND (
        SELECT min(at) FROM procrastinate_events WHERE job_id = min(procrastinate_jobs.id)
    ) < now() - interval '30 seconds'
    ORDER BY queue_name
"""


class ProcrastinateEngine:
    """Runs subscribers as tasks of a Procrastinate application, whose connector is of psycopg 3 or Django.

    `store_name` is where the helper process finds the store, `shop.event_store:store`; it is looked for in
    the loaded modules if left out.
    """

    kind: Final = "procrastinate"
    features: Final = Features(
        one_round_trip=True, atomic_bulk=True, transactional=True, delay=True, priority=True, handoff=True,
        redelivery=timedelta(minutes=1),
    )  # fmt: skip

    def __init__(self, app: procrastinate.App, *, store_name: str | None = None) -> None:
        self._app = app
        self._store_name = store_name
        self._subscribers: list[Subscriber] = []
        self._jobs = JobManager(SyncPsycopgConnector())  # which is given a connection with each call
        self._connections = Connections(app)
        self._sender: Sender | None = None

    def faults_of(self, subscription: Subscription) -> Iterable[WhereuponError]:
        """Yield what Procrastinate cannot honour of a subscription."""
        subscriber, options = subscription.subscriber, subscription.subscriber.options
        if options.timeout is not None and not subscriber.is_async:
            yield InvalidSubscriber(
                f"Procrastinate cannot stop a function, and {subscriber.name} says timeout=",
                where=subscriber.where,
                fix="write it with async def, or leave timeout= out",
            )
        if max(len(job_name(subscriber)), len(options.queue)) > _LIMIT:
            yield InvalidSubscriber(
                f"Procrastinate takes names of {_LIMIT} characters, {subscriber.name} or its queue has more",
                where=subscriber.where,
                fix='give it a shorter one: @subscriber(name="...", queue="...")',
            )

    def register(self, store: EventStore) -> None:
        """Make a task of each subscriber, and start the helper with each worker of the application.

        Without a ledger there is no helper, and each worker gives back what dead ones had in hand. Raises
        `InvalidConfiguration` where the application has another task of that name, or is Django's and not
        ready.
        """
        app = getattr(self._app.run_worker_async, "__self__", None)
        if app is None:
            raise InvalidConfiguration(
                "the Procrastinate application of Django is not ready when the store is installed",
                fix="name procrastinate.contrib.django before whereupon.contrib.django in INSTALLED_APPS",
            )
        jobs = jobs_of(store.routes)
        self._subscribers += [each.subscriber for each in jobs]
        names = [each.name for each in jobs]
        if store.is_tracked:
            deliverer, sweep = Deliverer(store, self.kind), Sweep(names)
            for job in jobs:
                _make_task(app, job, partial(_deliver, deliverer, sweep, job))
            help_workers(app, Beside(lambda: self._helped(store), deliverer, sweep).help)
            return
        receiver, sender = Receiver(store), Sender(app.connector, self._connections, strict=store.strict)
        self._sender = sender
        for job in jobs:
            _make_task(app, job, partial(_receive, receiver, sender, job), AGAIN)
        help_workers(app, Rescue(names).help)

    def _helped(self, store: EventStore) -> str:
        """Return the name of the store for a helper, which must be able to connect, too."""
        self._connections.conninfo()
        return name_of(store, self._store_name)

    def enqueue(self, wake_ups: Sequence[WakeUp]) -> None:
        """Send wake-ups in one statement, whatever tasks and queues they are for.

        Raises `EngineUnavailable`, `InvalidConfiguration`.
        """
        jobs = [_job(each) for each in wake_ups]
        with self._connections.lent() as connection:
            self._jobs.batch_defer_jobs(jobs, connection=connection)

    @property
    def promise(self) -> str:
        """What Procrastinate promises of events that were handed over."""
        return PROMISE

    def handoff_faults(self, subscriptions: Sequence[Subscription]) -> Iterable[WhereuponError]:
        """Yield nothing: delays of any length are safe, and no setting of the application loses jobs."""
        del subscriptions
        return ()

    def handoff_findings(self, subscriptions: Sequence[Subscription]) -> Iterable[Finding]:
        """Yield what may surprise a team whose events Procrastinate carries alone."""
        del subscriptions
        return procrastinate_handoff.findings(self._app)

    def hand_off(self, messages: Sequence[Message], on: object | None) -> None:
        """Write jobs that carry their events, in one statement in the transaction of `on`.

        That is a connection of psycopg 3; where the application is Django's, it may be left out. Raises
        `EngineUnavailable`, `NoTransaction`, `WrongConnection`, `InvalidConfiguration`.
        """
        self._sending().send(messages, on)

    async def ahand_off(self, messages: Sequence[Message], on: object | None) -> None:
        """Write jobs without blocking, where the connection is one of coroutines."""
        await self._sending().asend(messages, on)

    def _sending(self) -> Sender:
        if self._sender is None:
            raise InvalidConfiguration(
                "the store of this engine is not installed", fix="call store.install()"
            )
        return self._sender

    def close(self) -> None:
        """Close the connection that this thread has opened; the next use opens another one."""
        self._connections.close()

    def findings(self) -> Iterator[Finding]:
        """Yield whether the database answers, whether workers live, and which queues nobody looks after."""
        known = {
            "queues": [each.options.queue for each in self._subscribers],
            "names": [job_name(each) for each in self._subscribers],
        }
        try:
            with self._connections.lent() as connection:
                ((alive,),) = connection.execute(_ALIVE).fetchall()
                untouched = connection.execute(_UNTOUCHED, known).fetchall()
        except (EngineUnavailable, InvalidConfiguration) as error:
            yield "error", str(error)
            return
        yield "ok", f"Procrastinate's database {describe(self._connections.conninfo())} answers"
        if alive:
            yield "ok", f"Procrastinate's workers that live: {alive}"
        else:
            yield "error", "no worker of Procrastinate lives; start one: procrastinate --app=… worker"
        for (queue,) in untouched:
            yield "error", f"nobody takes jobs from the queue {queue}; start a worker with -q {queue}"


def _make_task(app: procrastinate.App, job: Job, handle: Callable[..., None], retry: Any = None) -> None:
    """Make a task that is a function, which Procrastinate runs on a thread, for coroutines too."""

    def run(context: JobContext, /, **given: Any) -> None:
        handle(context, given)

    options = job.subscriber.options
    run.__doc__ = job.subscriber.function.__doc__
    try:
        app.task(
            name=job.name, queue=options.queue, priority=PRIORITIES[options.priority], retry=retry,
            pass_context=True,
        )(run)  # fmt: skip
    except TaskAlreadyRegistered:
        raise InvalidConfiguration(
            f"the Procrastinate application has a task called {job.name} already",
            where=job.subscriber.where,
            fix='give the subscriber another name: @subscriber(name="...")',
        ) from None


def _deliver(deliverer: Deliverer, sweep: Sweep, job: Job, context: JobContext, given: Any) -> None:
    try:
        deliverer.deliver(checked(job.name, given), job.subscriptions)
    finally:
        sweep.note(context.job.id)


def _receive(receiver: Receiver, sender: Sender, job: Job, _: JobContext, given: Any) -> None:
    message = message_in(job.name, job.subscriber, given.get(ARGUMENT) if len(given) == 1 else None)
    procrastinate_handoff.receive(receiver, sender, message, job)


def _job(wake_up: WakeUp) -> NativeJob:
    subscriber = wake_up.subscriber
    return NativeJob(
        task_name=job_name(subscriber),
        queue=subscriber.options.queue,
        priority=PRIORITIES[subscriber.options.priority],
        task_kwargs={ARGUMENT: [wake_up.delivery]},
        lock=None,
        queueing_lock=None,
    )
