"""The store of a Django project on Procrastinate, which `whereupon.contrib.django` installs."""

from __future__ import annotations

import os

from procrastinate.contrib.django import app

from whereupon import relay
from whereupon.contrib.django import DjangoLedger
from whereupon.engines.procrastinate import ProcrastinateEngine
from whereupon.testing import engine_contract

relay.RESEND = float(os.environ.get("RESEND", relay.RESEND))
store = engine_contract.make_store(ProcrastinateEngine(app), DjangoLedger())
