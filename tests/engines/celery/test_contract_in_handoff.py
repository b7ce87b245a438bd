"""The conformance kit on Celery, with Redis and with RabbitMQ, without a ledger."""

from __future__ import annotations

import pytest

from tests.engines.celery.contract_kind import CeleryKind
from whereupon.testing import engine_contract

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["redis", "rabbitmq"])
def rig(request, tmp_path_factory):
    broker = request.getfixturevalue(request.param)
    broker.lose_everything()
    folder = tmp_path_factory.mktemp("handoff")
    kind = CeleryKind(f"celery-{request.param}-handoff", folder, broker, is_tracked=False)
    with engine_contract.Rig(kind) as rig:
        yield rig
    kind.close()


@pytest.mark.parametrize("case", engine_contract.HANDOFF_CASES, ids=str)
def test_contract_in_handoff(case, rig):
    case.run(rig)
