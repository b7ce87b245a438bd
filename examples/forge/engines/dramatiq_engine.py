"""Dramatiq, as a team has it already: on Redis, or on RabbitMQ where the broker's URL says so."""

import os

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.redis import RedisBroker

from whereupon.engines.dramatiq import DramatiqEngine

url = os.environ.get("FORGE_BROKER", "redis://127.0.0.1:6379/0")
broker: dramatiq.Broker = (
    RabbitmqBroker(url=url) if url.startswith("amqp") else RedisBroker(url=url)  # type: ignore[no-untyped-call]
)
dramatiq.set_broker(broker)
ENGINE = DramatiqEngine(broker, store_name="forge.event_store:store")
COMMAND = (
    "dramatiq", "--processes", "1", "forge.engines.dramatiq_engine:broker", "forge.installed"
)  # fmt: skip


def prepare() -> None:
    """Do nothing: queues are made when they are needed."""
