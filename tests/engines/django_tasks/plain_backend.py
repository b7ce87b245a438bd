"""A backend that can do nothing but take jobs, as one of a team's own may be."""

from __future__ import annotations

try:
    from django.tasks.backends.base import BaseTaskBackend
except ImportError:
    from django_tasks.backends.base import BaseTaskBackend


class PlainBackend(BaseTaskBackend):
    """Supports neither priorities nor results, and has one queue."""

    def enqueue(self, task, args, kwargs):
        raise NotImplementedError
