"""The conformance kit on django-tasks-db."""

from __future__ import annotations

import pytest

from whereupon.testing import engine_contract


@pytest.mark.parametrize("case", engine_contract.CASES, ids=str)
def test_contract(case, rig):
    if case.needs_broker and rig.kind.broker is None:
        pytest.skip("no server")
    case.run(rig)
