"""The application of the conformance kit, for local workers."""

from __future__ import annotations

from whereupon.testing import engine_contract

store = engine_contract.make_store(None)
