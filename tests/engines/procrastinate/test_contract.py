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
PLACE = "tests.engines.procrastinate"


class ProcrastinateKind:
    """Procrastinate's own worker command, with two jobs at a time."""

    name = "procrastinate"
    store_name = f"{PLACE}.contract_app:store"
    refuses = ("timeout",)
    program = "-m", "procrastinate", f"--app={PLACE}.team_app.app", "worker"

    def __init__(self, folder, database, **environment: str) -> None:
        self.folder = folder
        self.broker = database
        self.environment = (
            {"BROKER": database.url, engine_contract.LEDGER: new_database()} | RESEND | environment
        )
        os.environ |= self.environment
        self.app = procrastinate.App(connector=procrastinate.SyncPsycopgConnector(conninfo=database.url))
        engine = ProcrastinateEngine(self.app)
        self.store = engine_contract.make_store(engine)
        self.store.ledger.migrate()
        engine.register(self.store)
        self.app.open()

    def command(self, number) -> list[str]:
        return [sys.executable, *self.program, "--concurrency=2", "--queues=default,other"]

    def send(self, job, argument) -> None:
        self.app.configure_task(job).defer(whereupon=argument)

    def is_ready(self, output) -> bool:
        return "Launching a worker" in output

    def close(self) -> None:
        self.store.engine.close()
        self.app.close()


class SharedKind(ProcrastinateKind):
    """The same with the ledger in Procrastinate's database, which is killed with it."""

    name = "procrastinate-shared"

    def __init__(self, folder, database) -> None:
        super().__init__(folder, database, **{engine_contract.LEDGER: database.url})

    def close(self) -> None:
        super().close()
        self.broker.execute("TRUNCATE whereupon_delivery, whereupon_event")


class DjangoKind(SharedKind):
    """A Django project with a DjangoLedger, whose workers are `manage.py procrastinate worker`."""

    name = "procrastinate-django"
    store_name = f"{PLACE}.django_store:store"
    program = "-m", "django", "procrastinate", f"--settings={PLACE}.django_settings", "worker"

    def __init__(self, folder, database) -> None:
        super().__init__(folder, database)
        self.environment |= {"DJANGO_STORE": f"{PLACE}.django_store.store"}


KINDS = [
    ProcrastinateKind,
    pytest.param(SharedKind, marks=pytest.mark.exhaustive),
    pytest.param(DjangoKind, marks=pytest.mark.exhaustive),
]


@pytest.fixture(scope="module", params=KINDS)
def rig(request, tmp_path_factory, database):
    database.lose_everything()
    kind = request.param(tmp_path_factory.mktemp("contract"), database)
    with engine_contract.Rig(kind) as rig:
        yield rig
    kind.close()


@pytest.mark.parametrize("case", engine_contract.CASES, ids=str)
def test_contract(case, rig):
    case.run(rig)
