"""The conformance kit on RQ."""

from __future__ import annotations

import os
import sys

import pytest
import redis
from rq import Queue
from rq.serializers import JSONSerializer

from tests.servers import new_database
from whereupon.engines.rq import RQEngine
from whereupon.testing import engine_contract

pytestmark = pytest.mark.slow

RESEND = {} if "WHEREUPON_BACKLOG" in os.environ else {"RESEND": "5"}


class RQKind:
    """RQ's own worker command, with our worker class."""

    store_name = "tests.engines.rq.contract_app:store"
    refuses = ("priority",)

    def __init__(self, worker_class, folder, broker) -> None:
        self.name = f"rq-{worker_class}"
        self.folder = folder
        self.broker = broker
        self.environment = {
            "BROKER": broker.url, "WHEREUPON_STORE": self.store_name, engine_contract.LEDGER: new_database()
        } | RESEND  # fmt: skip
        os.environ |= self.environment
        self._class = worker_class
        self._connection = redis.Redis.from_url(broker.url)
        engine = RQEngine(self._connection)
        self.store = engine_contract.make_store(engine)
        self.store.ledger.migrate()
        engine.register(self.store)

    def command(self, number) -> list[str]:
        return [
            *(sys.executable, "-m", "rq.cli", "worker", "--url", self.broker.url, "other", "default"),
            *("--worker-class", f"whereupon.engines.rq.{self._class}"),
        ]

    def send(self, job, argument) -> None:
        queue = Queue("default", connection=self._connection, serializer=JSONSerializer)
        queue.enqueue(f"whereupon.engines.rq_jobs.{job}", whereupon=argument)

    def is_ready(self, output) -> bool:
        return "Listening on" in output

    def close(self) -> None:
        self.store.engine.close()
        self._connection.connection_pool.disconnect()


@pytest.fixture(scope="module", params=["Worker", pytest.param("SimpleWorker", marks=pytest.mark.exhaustive)])
def rig(request, tmp_path_factory, redis_server):
    kind = RQKind(request.param, tmp_path_factory.mktemp("contract"), redis_server)
    with engine_contract.Rig(kind) as rig:
        yield rig
    kind.close()


@pytest.mark.parametrize("case", engine_contract.CASES, ids=str)
def test_contract(case, rig):
    case.run(rig)
