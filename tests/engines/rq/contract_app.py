"""The application of the conformance kit on RQ."""

from __future__ import annotations

import os

import redis

from whereupon import relay
from whereupon.engines.rq import RQEngine
from whereupon.testing import engine_contract

relay.RESEND = float(os.environ.get("RESEND", relay.RESEND))
store = engine_contract.make_store(RQEngine(redis.Redis.from_url(os.environ["BROKER"])))
store.install()
