"""The application of the conformance kit on Dramatiq."""

from __future__ import annotations

import os

import dramatiq

from tests.engines.dramatiq.brokers import make_broker
from whereupon import relay
from whereupon.engines.dramatiq import DramatiqEngine
from whereupon.testing import engine_contract

relay.RESEND = float(os.environ.get("RESEND", relay.RESEND))


make_store = engine_contract.make_store

if "BROKER" in os.environ:
    broker = make_broker(os.environ["BROKER"])
    dramatiq.set_broker(broker)
    store = make_store(DramatiqEngine(broker, store_name=f"{__name__}:store"))
    store.install()
