"""The conformance kit on django-tasks-db."""

from __future__ import annotations

import os

import pytest

from whereupon.testing import engine_contract
from whereupon.testing.engine_contract.app import Happened


@pytest.mark.parametrize("case", engine_contract.CASES, ids=str)
def test_contract(case, rig):
    if case.needs_broker and rig.kind.broker is None:
        pytest.skip("no server")
    case.run(rig)


@pytest.mark.skipif(os.environ["DATABASE"] != "apart", reason="nothing can be published meanwhile")
def test_a_database_of_jobs_that_stops_answering_holds_up_nobody(rig):
    rig.at_least(1)
    numbers = [rig.number() for _ in range(20)]
    rig.publish(*(Happened(number=each) for each in numbers[:10]))
    rig.until_quiet()
    with rig.kind.broker.stopped():
        rig.publish(*(Happened(number=each) for each in numbers[10:]))
        place = rig.kind.broker.url.partition("@")[2].partition("/")[0]
        rig.until(lambda: f"{place}, takes no jobs" in rig.output(), 6)
    rig.until_quiet()
    assert set(rig.count("done", "act")) >= set(numbers)
