"""Procrastinate: each subscriber is a task of its own, on the workers that a team runs already.

A job carries the id of a delivery only, and is deleted when it has ended: what a dead worker had in hand
comes back from the ledger.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from procrastinate import SyncPsycopgConnector
from procrastinate.exceptions import TaskAlreadyRegistered
from procrastinate.jobs import Job as NativeJob
from procrastinate.manager import JobManager

from whereupon.engine_protocol import Features
from whereupon.engines.beside import name_of
from whereupon.engines.delivering import Deliverer
from whereupon.engines.jobs import ARGUMENT, Job, checked, job_name, jobs_of
from whereupon.engines.procrastinate_psycopg import Connections, conninfo_of
from whereupon.engines.procrastinate_workers import Beside, Sweep, help_workers
from whereupon.errors import EngineUnavailable, InvalidConfiguration, InvalidSubscriber

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import procrastinate
    from procrastinate import JobContext

    from whereupon.engine_protocol import WakeUp
    from whereupon.errors import WhereuponError
    from whereupon.ledger_protocol import Finding
    from whereupon.store import EventStore
    from whereupon.subscribers import Priority, Subscriber
    from whereupon.subscriptions import Subscription

_PRIORITIES: Final[dict[Priority, int]] = {"high": 10, "normal": 0, "low": -10}
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
    features: Final = Features(one_round_trip=True, atomic_bulk=True, priority=True)

    def __init__(self, app: procrastinate.App, *, store_name: str | None = None) -> None:
        self._app = app
        self._store_name = store_name
        self._subscribers: list[Subscriber] = []
        self._jobs = JobManager(SyncPsycopgConnector())  # which is given a connection with each call
        self._connections = Connections(app)

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

        Raises `InvalidConfiguration` where the application has another task of that name, or is Django's
        and not ready.
        """
        app = getattr(self._app.run_worker_async, "__self__", None)
        if app is None:
            raise InvalidConfiguration(
                "the Procrastinate application of Django is not ready when the store is installed",
                fix="name procrastinate.contrib.django before whereupon.contrib.django in INSTALLED_APPS",
            )
        deliverer, jobs = Deliverer(store, self.kind), jobs_of(store.routes)
        sweep = Sweep([each.name for each in jobs])
        for job in jobs:
            self._make_task(app, deliverer, job, sweep)
            self._subscribers.append(job.subscriber)
        help_workers(app, Beside(lambda: self._helped(store), deliverer, sweep))

    def _helped(self, store: EventStore) -> str:
        """Return the name of the store for a helper, which must be able to connect, too."""
        conninfo_of(self._app.connector)
        return name_of(store, self._store_name)

    def _make_task(self, app: procrastinate.App, deliverer: Deliverer, job: Job, sweep: Sweep) -> None:
        """Make a task that is a function, which Procrastinate runs on a thread, for coroutines too."""

        def handle(context: JobContext, /, **given: Any) -> None:
            try:
                deliverer.deliver(checked(job.name, given), job.subscriptions)
            finally:
                sweep.note(context.job.id)

        options = job.subscriber.options
        handle.__doc__ = job.subscriber.function.__doc__
        try:
            app.task(
                name=job.name,
                queue=options.queue,
                priority=_PRIORITIES[options.priority],
                pass_context=True,
            )(handle)
        except TaskAlreadyRegistered:
            raise InvalidConfiguration(
                f"the Procrastinate application has a task called {job.name} already",
                where=job.subscriber.where,
                fix='give the subscriber another name: @subscriber(name="...")',
            ) from None

    def enqueue(self, wake_ups: Sequence[WakeUp]) -> None:
        """Send wake-ups in one statement, whatever tasks and queues they are for.

        Raises `EngineUnavailable`, `InvalidConfiguration`.
        """
        jobs = [_job(each) for each in wake_ups]
        with self._connections.lent() as connection:
            self._jobs.batch_defer_jobs(jobs, connection=connection)

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
        yield "ok", f"Procrastinate's database {self._connections.place()} answers"
        if alive:
            yield "ok", f"Procrastinate's workers that live: {alive}"
        else:
            yield "error", "no worker of Procrastinate lives; start one: procrastinate --app=… worker"
        for (queue,) in untouched:
            yield "error", f"nobody takes jobs from the queue {queue}; start a worker with -q {queue}"


def _job(wake_up: WakeUp) -> NativeJob:
    subscriber = wake_up.subscriber
    return NativeJob(
        task_name=job_name(subscriber),
        queue=subscriber.options.queue,
        priority=_PRIORITIES[subscriber.options.priority],
        task_kwargs={ARGUMENT: [wake_up.delivery]},
        lock=None,
        queueing_lock=None,
    )
