"""The store of the conformance kit on Procrastinate."""

from __future__ import annotations

import os

from tests.engines.procrastinate.team_app import app
from whereupon import relay
from whereupon.engines import procrastinate_workers
from whereupon.engines.procrastinate import ProcrastinateEngine
from whereupon.testing import engine_contract

relay.RESEND = float(os.environ.get("RESEND", relay.RESEND))
procrastinate_workers.PAUSE = float(os.environ.get("PAUSE", procrastinate_workers.PAUSE))
store = engine_contract.make_store(ProcrastinateEngine(app))
if "HIDDEN" in os.environ:
    hidden = [store]
    del store
    hidden[0].install()
else:
    store.install()
