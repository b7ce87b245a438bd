"""The conformance kit on Dramatiq, with Redis and with RabbitMQ."""

from __future__ import annotations

import importlib
import os
import sys

import dramatiq
import pytest

from tests.engines.dramatiq.brokers import make_broker
from tests.servers import new_database
from whereupon.engines.dramatiq import DramatiqEngine
from whereupon.testing import engine_contract

pytestmark = pytest.mark.slow

RESEND = {} if "WHEREUPON_BACKLOG" in os.environ else {"RESEND": "5"}


class DramatiqKind:
    """Dramatiq's own worker command, with two processes of two threads."""

    app = "tests.engines.dramatiq.contract_app"
    processes, threads = 2, 2
    sends_again_soon = True

    def __init__(self, name, folder, server) -> None:
        self.name = name
        self.folder = folder
        self.broker = server
        self.store_name = f"{self.app}:store"
        self.environment = {"BROKER": server.url, engine_contract.LEDGER: new_database()}
        self.refuses = {"priority"} if server.url.startswith("redis:") else ()
        self.environment |= RESEND if self.sends_again_soon else {}
        os.environ.pop("BROKER", None)
        os.environ[engine_contract.LEDGER] = self.environment[engine_contract.LEDGER]
        app = importlib.import_module(self.app)
        self._own = make_broker(server.url)
        engine = DramatiqEngine(self._own)
        self.store = app.make_store(engine)
        self.store.ledger.migrate()
        engine.register(self.store)

    def command(self, number) -> list[str]:
        counts = ["-p", str(self.processes), "-t", str(self.threads)]
        return [sys.executable, "-m", "dramatiq", *counts, f"{self.app}:broker"]

    def send(self, job, argument) -> None:
        self._own.enqueue(dramatiq.Message("default", job, (), {"whereupon": argument}, {}))

    def send_own(self, name, argument) -> None:
        """Send a message to an actor of the team's own."""
        self._own.enqueue(dramatiq.Message("default", name, (argument,), {}, {}))

    def is_ready(self, output) -> bool:
        return output.count("ready for action") >= self.processes

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
