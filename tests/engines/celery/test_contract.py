"""The conformance kit on Celery, with Redis and with RabbitMQ."""

from __future__ import annotations

import pytest

from tests.engines.celery.contract_kind import CeleryKind
from whereupon.testing import engine_contract

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["redis", "rabbitmq"])
def rig(request, tmp_path_factory):
    broker = request.getfixturevalue(request.param)
    broker.lose_everything()
    kind = CeleryKind(f"celery-{request.param}", tmp_path_factory.mktemp("contract"), broker)
    with engine_contract.Rig(kind) as rig:
        yield rig
    kind.close()


@pytest.mark.parametrize("case", engine_contract.CASES, ids=str)
def test_contract(case, rig):
    case.run(rig)
