"""RQ, as a team has it already, with our worker class."""

import os

import redis

from forge.engines import QUEUES
from whereupon.engines.rq import RQEngine

url = os.environ.get("FORGE_BROKER", "redis://127.0.0.1:6379/0")
os.environ.setdefault("WHEREUPON_STORE", "forge.event_store:store")
ENGINE = RQEngine(redis.Redis.from_url(url), store_name="forge.event_store:store")
COMMAND = (
    *("rq.cli", "worker", "--url", url, "--worker-class", "whereupon.engines.rq.SimpleWorker"),
    *(*QUEUES, "default"),
)


def prepare() -> None:
    """Do nothing: queues are made when they are needed."""
