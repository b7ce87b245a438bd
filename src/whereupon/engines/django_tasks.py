"""Django Tasks: each subscriber is a task on a backend that the project has set up.

It works with `django.tasks` of Django 6 and with the package `django-tasks` before. The backend decides what
its workers can do; what a subscriber asks for beyond that is a fault when the store is built.
"""

from __future__ import annotations

import atexit
import os
import sys
import time
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

import django
from django.core import checks
from django.db import connections, transaction

from whereupon.engine_protocol import Features
from whereupon.engines import django_tasks_jobs, django_tasks_rows
from whereupon.engines.beside import name_of
from whereupon.engines.delivering import Deliverer
from whereupon.engines.django_tasks_jobs import task_name
from whereupon.engines.helper import Helper
from whereupon.engines.jobs import ARGUMENT, Job, checked, jobs_of
from whereupon.errors import EngineUnavailable, InvalidConfiguration, InvalidSubscriber

if django.VERSION >= (6, 0) and find_spec("django.tasks"):
    from django.tasks import task, task_backends
    from django.tasks.backends.dummy import DummyBackend
    from django.tasks.backends.immediate import ImmediateBackend
else:
    from django_tasks import task, task_backends
    from django_tasks.backends.dummy import DummyBackend
    from django_tasks.backends.immediate import ImmediateBackend

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from whereupon.engine_protocol import WakeUp
    from whereupon.errors import WhereuponError
    from whereupon.ledger_protocol import Finding
    from whereupon.store import EventStore
    from whereupon.subscribers import Priority
    from whereupon.subscriptions import Subscription

_PRIORITIES: Final[dict[Priority, int]] = {"high": 50, "normal": 0, "low": -50}
_WORKER: Final = "db_worker"
_SWEEP: Final = 60.0  # seconds between two sweeps of rows that the backend would keep


class DjangoTasksEngine:
    """Runs subscribers as tasks of a backend in the setting TASKS.

    `worker` is the management command that runs the backend's workers, `manage.py db_worker`: the helper
    starts with it. `database` is where the backend keeps its tasks, if it does. `store_name` is where the
    helper process finds the store, if not in the loaded modules.
    """

    kind: Final = "django_tasks"

    def __init__(
        self,
        *,
        backend: str = "default",
        database: str = "default",
        worker: str = _WORKER,
        store_name: str | None = None,
    ) -> None:
        self._alias = backend
        self._database = database
        self._worker = worker
        self._store_name = store_name
        self._swept_at = 0.0

    @property
    def _backend(self) -> Any:
        return task_backends[self._alias]

    @property
    def features(self) -> Features:
        """What the backend says that it can do."""
        backend = self._backend
        return Features(
            delay=backend.supports_defer,
            priority=backend.supports_priority,
            coroutines=backend.supports_async_task,
        )

    def faults_of(self, subscription: Subscription) -> Iterable[WhereuponError]:
        """Yield what the backend cannot honour of a subscription."""
        subscriber, options = subscription.subscriber, subscription.subscriber.options
        faults = {}
        if options.priority != "normal" and not self._backend.supports_priority:
            faults[f"priority={options.priority!r}"] = "leave it out, or choose a backend with priorities"
        if options.timeout is not None and not subscriber.is_async:
            faults["timeout="] = "leave it out, or make the subscriber a coroutine function"
        if self._backend.queues and options.queue not in self._backend.queues:
            faults[f"queue={options.queue!r}"] = f"add it to QUEUES of the backend {self._alias!r} in TASKS"
        for option, fix in faults.items():
            yield InvalidSubscriber(
                f"the task backend {self._alias!r} cannot honour {option} of {subscriber.name}",
                where=subscriber.where,
                fix=fix,
            )

    def register(self, store: EventStore) -> None:
        """Make a task of each subscriber, and start the helper if this is a process of the backend's worker.

        Raises `InvalidConfiguration` where the store cannot be found by a helper.
        """
        deliverer = Deliverer(store, self.kind)
        for job in jobs_of(store.routes):
            django_tasks_jobs.tasks[task_name(job.subscriber)] = self._task(deliverer, job)
        checks.register(partial(self._check))
        if self._is_worker():
            helper = Helper(name_of(store, self._store_name))
            atexit.register(deliverer.close)
            atexit.register(helper.stop)

    def _check(self, **_: Any) -> list[checks.CheckMessage]:
        """Return a system check's warning where the backend has no workers; tests may well do without."""
        if not self._has_no_workers() or "test" in sys.argv[1:2]:
            return []
        return [
            checks.Warning(
                f"the task backend {self._alias!r} has no workers, so no subscriber would ever hear anything",
                hint="set a BACKEND with workers in TASKS, or leave engine= of the store out",
                id="whereupon.W004",
            )
        ]

    def _has_no_workers(self) -> bool:
        return isinstance(self._backend, ImmediateBackend | DummyBackend)

    def _is_worker(self) -> bool:
        """Tell whether this process is the worker: under `--reload` only the one that is started again."""
        is_reloaded = "--reload" in sys.argv and os.environ.get("RUN_MAIN") != "true"
        return self._worker in sys.argv[1:2] and not is_reloaded

    def _task(self, deliverer: Deliverer, job: Job) -> Any:
        def handle(**given: Any) -> None:
            deliverer.deliver(checked(job.name, given), job.subscriptions)

        handle.__module__ = django_tasks_jobs.__name__
        handle.__name__ = handle.__qualname__ = task_name(job.subscriber)
        options = job.subscriber.options
        return task(backend=self._alias, queue_name=options.queue, priority=_PRIORITIES[options.priority])(
            handle
        )

    def enqueue(self, wake_ups: Sequence[WakeUp]) -> None:
        """Send wake-ups one by one, in one transaction of the database that the tasks are in.

        Raises `EngineUnavailable`, `InvalidConfiguration`.
        """
        if self._has_no_workers():
            raise InvalidConfiguration(
                f"the task backend {self._alias!r} has no workers, so Django would run handlers in the relay",
                fix="set a BACKEND with workers in TASKS, such as that of django-tasks-db",
            )
        try:
            with transaction.atomic(using=self._database):
                for each in wake_ups:
                    native = django_tasks_jobs.tasks[task_name(each.subscriber)]
                    native.enqueue(**{ARGUMENT: [each.delivery]})
            self._sweep()
        except Exception as error:
            self.close()
            raise EngineUnavailable(
                f"the task backend {self._alias!r} does not take jobs ({type(error).__name__}: {error})",
                fix="start the server that it keeps its tasks in, or mend TASKS; nothing is lost",
            ) from error

    def _sweep(self) -> None:
        if time.monotonic() - self._swept_at >= _SWEEP:
            self._swept_at = time.monotonic()
            django_tasks_rows.sweep(self._backend, f"{django_tasks_jobs.__name__}.")

    def close(self) -> None:
        """Close the connection to the database of this thread; the next use opens another one."""
        connections[self._database].close()

    def findings(self) -> Iterator[Finding]:
        """Yield whether the backend has workers, and whether the database with its tasks answers."""
        if self._has_no_workers():
            yield "error", f"the task backend {self._alias!r} has no workers: set another BACKEND in TASKS"
            return
        try:
            connections[self._database].ensure_connection()
            yield "ok", f"the database {self._database!r}, for tasks of the backend {self._alias!r}, answers"
        except Exception as error:  # noqa: BLE001 - whatever is the matter, it is a finding
            yield "error", f"the database {self._database!r} with the tasks does not answer: {error}"
