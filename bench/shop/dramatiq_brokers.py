"""Dramatiq's brokers, by URL."""

from __future__ import annotations

from dramatiq import Broker
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.redis import RedisBroker


def broker_at(url: str) -> Broker:
    """Return the broker of the kind that a URL names."""
    if url.startswith("amqp"):
        return RabbitmqBroker(url=url)
    return RedisBroker(url=url)  # type: ignore[no-untyped-call]
