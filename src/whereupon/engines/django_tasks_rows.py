"""The rows that django-tasks-db keeps of tasks that have run: ours are deleted, as the ledger knows more."""

from __future__ import annotations

from datetime import timedelta
from importlib.util import find_spec
from typing import Any, Final

from django.db.models import Q
from django.utils import timezone

_KEPT: Final = timedelta(days=1)
"""How long a row is kept of a task that failed, or whose worker died."""


def sweep(backend: Any, path: str) -> int:
    """Delete the rows of tasks below a path, if the backend keeps rows; return how many.

    Those that have succeeded go at once, others after a day.
    """
    if not find_spec("django_tasks_db"):
        return 0
    from django_tasks_db.backend import DatabaseBackend
    from django_tasks_db.models import DBTaskResult

    if not isinstance(backend, DatabaseBackend):
        return 0
    is_old = Q(status__in=("FAILED", "RUNNING"), started_at__lt=timezone.now() - _KEPT)
    rows = DBTaskResult.objects.filter(Q(status="SUCCESSFUL") | is_old, task_path__startswith=path)
    return int(rows.delete()[0])
