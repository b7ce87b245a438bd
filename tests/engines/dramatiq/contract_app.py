"""The application of the conformance kit on Dramatiq."""

from __future__ import annotations

import os

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.redis import RedisBroker

from whereupon import relay
from whereupon.engines.dramatiq import DramatiqEngine
from whereupon.testing import engine_contract

relay.RESEND = float(os.environ.get("RESEND", relay.RESEND))


def make_broker(url: str) -> dramatiq.Broker:
    """Return the broker that a URL is for."""
    return RedisBroker(url=url) if url.startswith("redis:") else RabbitmqBroker(url=url)


if "BROKER" in os.environ:
    broker = make_broker(os.environ["BROKER"])
    dramatiq.set_broker(broker)
    store = engine_contract.make_store(DramatiqEngine(broker, store_name=f"{__name__}:store"))
    store.install()
