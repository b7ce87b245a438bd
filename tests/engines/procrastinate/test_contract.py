"""The conformance kit on Procrastinate."""

from __future__ import annotations

import os
import sys

import procrastinate
import pytest

from tests.servers import new_database
from whereupon.engines.procrastinate import ProcrastinateEngine
from whereupon.testing import engine_contract

pytestmark = pytest.mark.slow

RESEND = {} if "WHEREUPON_BACKLOG" in os.environ else {"RESEND": "5"}


class ProcrastinateKind:
    """Procrastinate's own worker command, with two jobs at a time."""

    name = "procrastinate"
    store_name = "tests.engines.procrastinate.contract_app:store"

    def __init__(self, folder, database) -> None:
        self.folder = folder
        self.broker = database
        self.environment = {"BROKER": database.url, engine_contract.LEDGER: new_database()} | RESEND
        os.environ |= self.environment
        self.app = procrastinate.App(connector=procrastinate.SyncPsycopgConnector(conninfo=database.url))
        engine = ProcrastinateEngine(self.app)
        self.store = engine_contract.make_store(engine)
        self.store.ledger.migrate()
        engine.register(self.store)
        self.app.open()

    def command(self, number) -> list[str]:
        return [
            *(sys.executable, "-m", "procrastinate", "--app=tests.engines.procrastinate.contract_app.app"),
            *("worker", "--concurrency=2", "--queues=default,other"),
        ]

    def send(self, job, argument) -> None:
        self.app.configure_task(job).defer(whereupon=argument)

    def is_ready(self, output) -> bool:
        return "Starting worker" in output or "Launching a worker" in output

    def close(self) -> None:
        self.store.engine.close()
        self.app.close()


@pytest.fixture(scope="module")
def rig(tmp_path_factory, database):
    database.lose_everything()
    kind = ProcrastinateKind(tmp_path_factory.mktemp("contract"), database)
    with engine_contract.Rig(kind) as rig:
        yield rig
    kind.close()


@pytest.mark.parametrize("case", engine_contract.CASES, ids=str)
def test_contract(case, rig):
    case.run(rig)
