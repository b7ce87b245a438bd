"""Settings of Django for a worker of the bench, which has our subscriber where a ledger is named."""

from __future__ import annotations

import os

from bench.peers import django_project
from bench.shop import event_store

DATABASES = {"default": django_project.place_of(os.environ["BENCH_BROKER"])}
TASKS = django_project.TASKS
INSTALLED_APPS = ["django_tasks_db"]
SECRET_KEY = "of the bench"
if event_store.LEDGER in os.environ:
    INSTALLED_APPS += ["whereupon.contrib.django"]
    WHEREUPON = {"STORE": "bench.shop.django_app.store"}
