"""Celery, as a team has it already."""

import os

import celery

from forge.engines import QUEUES
from whereupon.engines.celery import CeleryEngine

app = celery.Celery("forge", broker=os.environ.get("FORGE_BROKER", "redis://127.0.0.1:6379/0"))
ENGINE = CeleryEngine(app, store_name="forge.event_store:store")
COMMAND = (
    *("celery", "-A", "forge.engines.celery_engine:app", "worker", "--include", "forge.installed"),
    *("--concurrency", "1", "--loglevel", "info", "--queues", ",".join(QUEUES)),
)


def prepare() -> None:
    """Do nothing: queues are made when they are needed."""
