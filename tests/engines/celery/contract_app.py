"""The application of the conformance kit on Celery, started as a team starts its own."""

from __future__ import annotations

import os

from celery import Celery

from whereupon import relay
from whereupon.engines.celery import CeleryEngine
from whereupon.testing import engine_contract

relay.RESEND = float(os.environ.get("RESEND", relay.RESEND))
app = Celery("contract", broker=os.environ["BROKER"])
app.conf.task_queue_max_priority = 10
make = engine_contract.make_store_without_ledger if "HANDOFF" in os.environ else engine_contract.make_store
store = make(CeleryEngine(app, store_name=f"{__name__}:store"))
store.install()
