"""The application of the conformance kit on Django Tasks, with the ledger in their database or apart."""

from __future__ import annotations

import os

from whereupon import relay
from whereupon.contrib.django import DjangoLedger
from whereupon.engines.django_tasks import DjangoTasksEngine
from whereupon.testing import engine_contract

relay.RESEND = float(os.environ.get("RESEND", relay.RESEND))
is_apart = bool(os.environ.get(engine_contract.LEDGER))
ledger = engine_contract.make_ledger() if is_apart else DjangoLedger()
store = engine_contract.make_store(DjangoTasksEngine(store_name=f"{__name__}:store"), ledger)
