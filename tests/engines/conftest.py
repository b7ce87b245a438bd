"""What no test of engines leaves behind, and which cases of the kit each change runs on a second broker."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

SECOND = "[rabbitmq-", "[postgresql-"
OF_BROKERS = "every-kind", "forged", "broker", "the-worker-is-killed"
"""What a broker has a part in; the rest of the kit is run on the first one."""


@pytest.fixture(autouse=True)
def nothing_goes_on():
    """Fail the test that leaves the thread of its deliverer behind, rather than one that follows."""
    before = set(threading.enumerate())
    yield
    left = set(threading.enumerate()) - before
    assert not [each for each in left if each.name == "whereupon-closes"], "a Deliverer was not closed"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items) -> None:
    for item in items:
        is_ours = Path(__file__).parent in item.path.parents
        if is_ours and _is_on_a_second_one(item) and not any(part in item.name for part in OF_BROKERS):
            item.add_marker(pytest.mark.exhaustive)


def _is_on_a_second_one(item) -> bool:
    starts = [f"{test}{each}" for test in ("test_contract", "test_contract_in_handoff") for each in SECOND]
    return item.name.startswith(tuple(starts))
