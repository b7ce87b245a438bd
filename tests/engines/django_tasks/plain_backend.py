"""Backends that can do nothing but take jobs, as one of a team's own may be."""

from __future__ import annotations

import socket

try:
    from django.tasks.backends.base import BaseTaskBackend
except ImportError:
    from django_tasks.backends.base import BaseTaskBackend


class PlainBackend(BaseTaskBackend):
    """Supports neither priorities nor results, and has one queue."""

    def enqueue(self, task, args, kwargs):
        raise NotImplementedError


class PatientBackend(PlainBackend):
    """Waits without a limit until a server has taken the job."""

    def enqueue(self, task, args, kwargs):
        with socket.create_connection(("127.0.0.1", self.options["port"])) as line:
            line.recv(1)
