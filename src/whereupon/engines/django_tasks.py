"""Django Tasks: each subscriber is a task of its own, on the backend that the project has.

A job carries the id of a delivery only. What a dead worker had in hand comes back from the ledger, whatever
the backend does about it.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from django.apps import apps
from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from whereupon.engine_protocol import Features
from whereupon.engines import django_tasks_jobs
from whereupon.engines.answering import SECONDS, Apart
from whereupon.engines.beside import name_of
from whereupon.engines.delivering import Deliverer
from whereupon.engines.helper import Helper
from whereupon.engines.jobs import ARGUMENT, Job, checked, job_name, jobs_of
from whereupon.errors import EngineUnavailable, InvalidConfiguration, InvalidSubscriber

try:
    from django.tasks import task, task_backends  # pyright: ignore[reportMissingImports] - Django 6
    from django.tasks.backends.dummy import DummyBackend  # pyright: ignore[reportMissingImports]
    from django.tasks.backends.immediate import ImmediateBackend  # pyright: ignore[reportMissingImports]
except ImportError:
    from django_tasks import task, task_backends
    from django_tasks.backends.dummy import DummyBackend
    from django_tasks.backends.immediate import ImmediateBackend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from types import ModuleType

    from whereupon.engine_protocol import WakeUp
    from whereupon.errors import WhereuponError
    from whereupon.ledger_protocol import Finding
    from whereupon.store import EventStore
    from whereupon.subscribers import Priority
    from whereupon.subscriptions import Subscription

_PRIORITIES: Final[dict[Priority, int]] = {"high": 50, "normal": 0, "low": -50}
"""Higher is sooner with Django, and the team's own tasks have 0."""
_WORKER: Final = "db_worker"
_SWEEP: Final = 3600.0  # seconds between two looks for jobs of dead workers
_log = logging.getLogger("whereupon.worker")
_FIX: Final = "name a backend with workers in TASKS, such as django_tasks_db.DatabaseBackend"


class DjangoTasksEngine:
    """Runs subscribers as tasks of Django, on the backend that TASKS has under an alias.

    `worker` is the management command that runs the backend's workers, `manage.py db_worker`: the helper
    starts with it. `store_name` is where the helper process finds the store, `shop.event_store:store`; it is
    looked for in the loaded modules if left out. Building a store with it reads the settings. Whatever asks
    for the backend raises `InvalidConfiguration` where there is none.
    """

    kind: Final = "django_tasks"

    def __init__(
        self, *, backend: str = "default", worker: str = _WORKER, store_name: str | None = None
    ) -> None:
        self._alias = backend
        self._worker = worker
        self._store_name = store_name
        self._tasks: dict[str, Any] = {}
        self._swept_at = -_SWEEP
        self._apart: Apart | None = None

    @property
    def _backend(self) -> Any:
        try:
            return task_backends[self._alias]
        except ImproperlyConfigured as error:
            raise InvalidConfiguration(
                f"there is no backend {self._alias!r} for Django's tasks: {error}",
                fix="name one in TASKS of the settings: DjangoTasksEngine(backend=...)",
            ) from error

    @property
    def features(self) -> Features:
        """What the backend says that it can do."""
        backend = self._backend
        return Features(
            atomic_bulk=self._database() is not None,
            delay=backend.supports_defer,
            priority=backend.supports_priority,
            coroutines=backend.supports_async_task,
        )

    def faults_of(self, subscription: Subscription) -> Iterable[WhereuponError]:
        """Yield what the backend cannot honour of a subscription; none stops a function that is late."""
        subscriber, backend = subscription.subscriber, self._backend
        options = subscriber.options
        if options.priority != "normal" and not backend.supports_priority:
            yield InvalidSubscriber(
                f"{self._name()} has no priorities, and {subscriber.name} says {options.priority!r}",
                where=subscriber.where,
                fix="give it a queue of its own",
            )
        if backend.queues and options.queue not in backend.queues:
            yield InvalidSubscriber(
                f"{self._name()} has no queue {options.queue!r}, which {subscriber.name} names",
                where=subscriber.where,
                fix="add it to QUEUES of the backend in TASKS",
            )
        if options.timeout is not None and not subscriber.is_async:
            yield InvalidSubscriber(
                f"Django's tasks have no time limit, and {subscriber.name} has timeout=",
                where=subscriber.where,
                fix="leave it out, or make it a coroutine function, which is cancelled",
            )

    def _name(self) -> str:
        return f"the backend {self._alias!r} ({type(self._backend).__name__})"

    def _database(self) -> ModuleType | None:
        """Return what is special to django-tasks-db, if that is the backend."""
        if not apps.models_ready:
            raise InvalidConfiguration(
                "Django is not set up yet", fix='WHEREUPON = {"STORE": ...}, or call django.setup() before'
            )
        if not apps.is_installed("django_tasks_db"):
            return None
        from whereupon.engines import django_tasks_db

        return django_tasks_db if django_tasks_db.is_backend(self._backend) else None

    def register(self, store: EventStore) -> None:
        """Make a task of each subscriber, and start the helper if this is a process of the backend's worker.

        Raises `InvalidConfiguration` where a helper could not find the store, so that no worker starts.
        """
        deliverer = Deliverer(store, self.kind)
        for job in jobs_of(store.routes):
            made = self._tasks[job.name] = self._task(deliverer, job)
            django_tasks_jobs.tasks[made.func.__qualname__] = made
        checks.register(lambda **_: self._check(), "whereupon")
        if database := self._database():
            database.forget_finished(self._alias)
        if self._is_worker():
            helper = Helper(name_of(store, self._store_name))
            atexit.register(deliverer.close)
            atexit.register(helper.stop)

    def _is_worker(self) -> bool:
        """Tell whether this is a process of the worker, and not one that only starts it again on changes.

        There is no signal for the start of a worker, and before its first job it needs a helper already.
        """
        reloads = "--reload" in sys.argv or (
            settings.DEBUG and self._worker == _WORKER and "--no-reload" not in sys.argv
        )
        return self._worker in sys.argv[1:2] and (not reloads or os.environ.get("RUN_MAIN") == "true")

    def _task(self, deliverer: Deliverer, job: Job) -> Any:
        def handle(*arguments: Any, **given: Any) -> None:
            try:
                ids = checked(job.name, given if not arguments else {})
            except InvalidConfiguration as error:
                _log.error("%s", error)  # Django itself may log nothing of it
                raise
            deliverer.deliver(ids, job.subscriptions)

        handle.__module__ = django_tasks_jobs.__name__
        handle.__name__, handle.__qualname__ = job.name, job.name.replace(".", ":")
        handle.__doc__ = job.subscriber.function.__doc__
        options = job.subscriber.options
        priority = _PRIORITIES[options.priority]
        return task(priority=priority, queue_name=options.queue, backend=self._alias)(handle)

    def enqueue(self, wake_ups: Sequence[WakeUp]) -> None:
        """Send wake-ups one by one, and wait seconds for each; with django-tasks-db in one transaction.

        Raises `EngineUnavailable`, `InvalidConfiguration`.
        """
        if self._has_no_workers():
            raise InvalidConfiguration(
                f"{self._name()} has no workers, so nobody would handle in the background", fix=_FIX
            )
        database = self._database()
        try:
            with database.together() if database else contextlib.nullcontext():
                for each in wake_ups:
                    job = self._tasks[job_name(each.subscriber)]
                    send = partial(job.enqueue, **{ARGUMENT: [each.delivery]})
                    send() if database else self._send_apart(send)
                self._sweep(database)
        except Exception as error:  # whatever the backend's driver raises
            self.close()
            place = f", {database.place()}," if database else ""
            raise EngineUnavailable(
                f"{self._name()}{place} takes no jobs ({type(error).__name__}: {error})",
                fix="start its server, run migrate, or mend TASKS and DATABASES; nothing is lost",
            ) from error

    def _send_apart(self, send: Callable[[], object]) -> None:
        """Send to a backend whose line to its server is not to be had, and wait only so long."""
        if self._apart is not None and self._apart.is_lost:
            self._apart.end()
            self._apart = None
        self._apart = self._apart or Apart("whereupon-django-tasks")
        if self._apart.is_late:
            raise TimeoutError("an earlier job has not been taken yet")
        self._apart.within(SECONDS, send)

    def _has_no_workers(self) -> bool:
        return isinstance(self._backend, ImmediateBackend | DummyBackend)

    def _sweep(self, database: ModuleType | None) -> None:
        if database and time.monotonic() - self._swept_at >= _SWEEP:
            self._swept_at = time.monotonic()
            database.forget_stale(self._alias)

    def close(self) -> None:
        """Close the connection of this thread, where there is one; the next use opens another one."""
        if database := self._database():
            database.close()

    def findings(self) -> Iterator[Finding]:
        """Yield whether the backend has workers, whether its database answers, and who takes no jobs."""
        if self._has_no_workers():
            yield "error", f"{self._name()} has no workers: no delivery would ever be handled; {_FIX}"
        elif database := self._database():
            yield from database.findings(self._alias)
        else:
            yield "ok", f"{self._name()} is not asked anything; its workers are those of {self._worker}"

    def _check(self) -> list[checks.CheckMessage]:
        """Warn of a backend without workers, unless this is a run of tests: whereupon.W004."""
        if not self._has_no_workers() or sys.argv[1:2] == ["test"]:
            return []
        text = f"{self._name()} has no workers, so events are published and not handled"
        return [checks.Warning(text, hint=_FIX, id="whereupon.W004")]
