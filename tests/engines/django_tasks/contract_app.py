"""The store of the conformance kit on Django Tasks."""

from __future__ import annotations

import os

from whereupon import relay
from whereupon.engines.django_tasks import DjangoTasksEngine
from whereupon.testing import engine_contract

relay.RESEND = float(os.environ.get("RESEND", relay.RESEND))
store = engine_contract.make_store(DjangoTasksEngine())
