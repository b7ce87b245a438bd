"""Dramatiq's brokers for the servers of the tests."""

from __future__ import annotations

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.redis import RedisBroker


def make_broker(url: str) -> dramatiq.Broker:
    """Return the broker that a URL is for."""
    return RedisBroker(url=url) if url.startswith("redis:") else RabbitmqBroker(url=url, max_priority=10)
