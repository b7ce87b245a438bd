"""What the engine does for django-tasks-db, whose jobs are rows of a table, beyond what all backends need.

This needs Django to be set up, with django_tasks_db in INSTALLED_APPS.
"""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from django.db import Error as DatabaseError
from django.db import connections, router, transaction
from django.utils import timezone
from django_tasks_db.backend import DatabaseBackend
from django_tasks_db.compat import TaskResultStatus, task_finished
from django_tasks_db.models import DBTaskResult

from whereupon.engines.answering import answered
from whereupon.engines.django_tasks_jobs import PATH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from whereupon.ledger_protocol import Finding

_SECONDS: Final = 2  # within which the database must answer
_STALE: Final = timedelta(days=1)  # that a job runs until its worker is taken for dead
_UNTAKEN: Final = timedelta(minutes=1)  # that a job may wait for a worker until it is a finding


def is_backend(backend: object) -> bool:
    """Tell whether a backend is that of django-tasks-db."""
    return isinstance(backend, DatabaseBackend)


def _connection() -> Any:
    """Return this thread's Django connection to the table of jobs."""
    return connections[router.db_for_write(DBTaskResult)]


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Let all jobs that are sent in here arrive, or none, within a few seconds.

    Raises what Django raises of a database, and `TimeoutError`.
    """
    connection = _connection()
    block: Any = transaction.atomic(using=connection.alias)
    with _connecting_soon(connection), _answered(connection) as ask:
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()
            connection.close_if_health_check_failed()
            connection.ensure_connection()
        with block:
            if connection.vendor == "postgresql":
                with connection.cursor() as cursor:
                    cursor.execute(f"SET LOCAL statement_timeout = '{_SECONDS}s'")
            yield
            ask()  # for the commit


@contextlib.contextmanager
def _connecting_soon(connection: Any) -> Iterator[None]:
    """Let Django connect within a few seconds, whatever the settings of the alias say to others."""
    own = connection.settings_dict
    if connection.vendor in {"postgresql", "mysql"}:
        connection.settings_dict = own | {"OPTIONS": {"connect_timeout": _SECONDS} | own["OPTIONS"]}
    try:
        yield
    finally:
        connection.settings_dict = own


@contextlib.contextmanager
def _answered(connection: Any) -> Iterator[Callable[[], None]]:
    """Cut the line to a PostgreSQL that does not answer a statement at all; gives what begins another one."""
    if connection.vendor != "postgresql":
        yield lambda: None
        return

    def find() -> int:
        found: int = connection.connection.fileno()  # of the one that it has by then
        return found

    def execute(run: Any, *statement: Any) -> Any:
        line.ask()
        try:
            return run(*statement)
        finally:
            if line.is_cut:
                connection.close()  # or Django would connect anew at the end of the transaction

    with answered(find) as line, connection.execute_wrapper(execute):
        yield line.ask


def close() -> None:
    """Close this thread's connection; Django opens another one when it is used."""
    connection = _connection()
    if not connection.in_atomic_block:
        connection.close()


def place() -> str:
    """Say where the table of jobs is: host and port, or the file."""
    settings = _connection().settings_dict
    return ":".join(filter(None, [settings["HOST"], str(settings["PORT"])])) or str(settings["NAME"])


def forget_finished(backend: str) -> None:
    """Let workers of this process delete our jobs when they have run; one that failed stays to be seen."""

    def forget(task_result: Any, **_: Any) -> None:
        is_ours = task_result.backend == backend and task_result.task.module_path.startswith(PATH)
        if is_ours and task_result.status == TaskResultStatus.SUCCESSFUL:
            DBTaskResult.objects.filter(pk=task_result.id).delete()

    task_finished.connect(forget, weak=False)


def forget_stale(backend: str) -> None:
    """Delete our jobs of workers that have died: they are `running` for ever, and no command prunes them."""
    DBTaskResult.objects.running().filter(
        backend_name=backend, task_path__startswith=PATH, started_at__lt=timezone.now() - _STALE
    ).delete()


def findings(backend: str) -> Iterator[Finding]:
    """Yield whether the database answers, and on which queues no worker takes our jobs."""
    try:
        with together():
            waiting = DBTaskResult.objects.ready().filter(
                backend_name=backend,
                task_path__startswith=PATH,
                enqueued_at__lt=timezone.now() - _UNTAKEN,
            )
            queues = set(waiting.values_list("queue_name", flat=True))
    except (DatabaseError, TimeoutError) as error:
        close()
        yield "error", f"the database of django-tasks-db, {place()}, cannot be used: {error}"
        return
    yield "ok", f"the database of django-tasks-db, {place()}, answers"
    for queue in sorted(queues):
        yield (
            "error",
            f"no worker takes jobs from the queue {queue}; start one: db_worker --queue-name {queue}",
        )
