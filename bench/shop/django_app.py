"""The tasks of Django in the bench: the team's own, and our subscriber where a ledger is named."""

from __future__ import annotations

import os

from bench.marks import marks
from bench.shop import event_store
from whereupon.engines.django_tasks import DjangoTasksEngine

try:
    from django.tasks import task  # pyright: ignore[reportMissingImports] - Django 6
except ImportError:
    from django_tasks import task

if event_store.LEDGER in os.environ:
    store = event_store.noting(event_store.named_ledger(), DjangoTasksEngine())


@task()  # type: ignore[untyped-decorator]
def bare(place: int) -> None:
    """Mark a place, as our subscriber does."""
    marks().mark(place)
