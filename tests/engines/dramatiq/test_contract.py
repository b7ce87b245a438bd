"""The conformance kit on Dramatiq, with Redis and with RabbitMQ."""

from __future__ import annotations

import importlib
import os
import sys

import dramatiq
import pytest

from tests.servers import new_database
from whereupon.engines.dramatiq import DramatiqEngine
from whereupon.testing import engine_contract

pytestmark = pytest.mark.slow

RESEND = {} if "WHEREUPON_BACKLOG" in os.environ else {"RESEND": "5"}
APP = "tests.engines.dramatiq.contract_app"


class DramatiqKind:
    """Dramatiq's own worker command, with two processes of two threads."""

    store_name = f"{APP}:store"

    def __init__(self, name, folder, server) -> None:
        self.name = name
        self.folder = folder
        self.broker = server
        self.environment = {"BROKER": server.url, engine_contract.LEDGER: new_database()} | RESEND
        os.environ.pop("BROKER", None)
        os.environ[engine_contract.LEDGER] = self.environment[engine_contract.LEDGER]
        self._own = importlib.import_module(APP).make_broker(server.url)
        engine = DramatiqEngine(self._own)
        self.store = engine_contract.make_store(engine)
        self.store.ledger.migrate()
        engine.register(self.store)

    def command(self, number) -> list[str]:
        return [sys.executable, "-m", "dramatiq", "-p", "2", "-t", "2", f"{APP}:broker"]

    def send(self, job, argument) -> None:
        self._own.enqueue(dramatiq.Message("default", job, (), {"whereupon": argument}, {"max_retries": 0}))

    def is_ready(self, output) -> bool:
        return output.count("ready for action") >= 2

    def close(self) -> None:
        self.store.engine.close()
        self._own.close()


@pytest.fixture(scope="module", params=["redis", "rabbitmq"])
def rig(request, tmp_path_factory):
    server = request.getfixturevalue(request.param)
    kind = DramatiqKind(f"dramatiq-{request.param}", tmp_path_factory.mktemp("contract"), server)
    with engine_contract.Rig(kind) as rig:
        yield rig
    kind.close()


@pytest.mark.parametrize("case", engine_contract.CASES, ids=str)
def test_contract(case, rig):
    case.run(rig)
