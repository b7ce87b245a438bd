"""The application of the conformance kit on Procrastinate, started as a team starts its own."""

from __future__ import annotations

import os

import procrastinate

from whereupon import relay
from whereupon.engines.procrastinate import ProcrastinateEngine
from whereupon.testing import engine_contract

relay.RESEND = float(os.environ.get("RESEND", relay.RESEND))
app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=os.environ["BROKER"]))
store = engine_contract.make_store(ProcrastinateEngine(app, store_name=f"{__name__}:store"))
store.install()
