"""The conformance kit on local workers, as far as it is not about jobs and brokers."""

from __future__ import annotations

import os
import sys

import pytest

from tests.servers import new_database
from whereupon.testing import engine_contract

pytestmark = pytest.mark.slow


class LocalKind:
    """`whereupon worker`."""

    store_name = "tests.engines.local.contract_app:store"
    broker = None
    refuses = ()

    def __init__(self, name, folder, url) -> None:
        self.name = name
        self.folder = folder
        self.environment = {engine_contract.LEDGER: url}
        os.environ |= self.environment | {engine_contract.FOLDER: str(folder)}
        self.store = engine_contract.make_store(None)
        self.store.ledger.migrate()

    def command(self, number) -> list[str]:
        return [sys.executable, "-m", "whereupon", "worker", "--store", self.store_name]

    def send(self, job, argument) -> None:
        """There are no jobs."""

    def is_ready(self, output) -> bool:
        return "worker" in output


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def rig(request, tmp_path_factory):
    url = new_database() if request.param == "postgresql" else ""
    with engine_contract.Rig(
        LocalKind(f"local-{request.param}", tmp_path_factory.mktemp("contract"), url)
    ) as rig:
        yield rig


@pytest.mark.parametrize(
    "case", [each for each in engine_contract.CASES if not each.needs_jobs and not each.needs_broker], ids=str
)
def test_contract(case, rig):
    case.run(rig)
