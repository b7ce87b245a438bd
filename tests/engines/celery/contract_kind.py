"""What the conformance kit is told of Celery."""

from __future__ import annotations

import os
import sys

from celery import Celery

from tests.servers import new_database
from whereupon.engines.celery import CeleryEngine
from whereupon.testing import engine_contract

RESEND = {} if "WHEREUPON_BACKLOG" in os.environ else {"RESEND": "5"}
"""How long a relay waits before it takes wake-ups for lost; the promise is about its own default."""


class CeleryKind:
    """Celery's own worker command, with two processes."""

    store_name = "tests.engines.celery.contract_app:store"
    refuses = ()

    def __init__(self, name, folder, broker, *, is_tracked=True) -> None:
        self.name = name
        self.folder = folder
        self.broker = broker
        ledger = {engine_contract.LEDGER: new_database()} if is_tracked else {"HANDOFF": "yes"}
        self.environment = {"BROKER": broker.url} | ledger | RESEND
        os.environ |= {"BROKER": broker.url} | (ledger if is_tracked else {})
        self._app = Celery("client", broker=broker.url)
        self._app.conf.task_queue_max_priority = 10
        engine = CeleryEngine(self._app)
        if is_tracked:
            self.store = engine_contract.make_store(engine)
            self.store.ledger.migrate()
        else:
            self.store = engine_contract.make_store_without_ledger(engine)
        engine.register(self.store)

    def command(self, number) -> list[str]:
        return [
            *(sys.executable, "-m", "celery", "-A", "tests.engines.celery.contract_app:app", "worker"),
            *("-l", "info", "-c", "2", "-Q", "celery,other", "-n", f"contract{number}@localhost"),
            *("--without-mingle", "--without-gossip"),
        ]

    def send(self, job, argument) -> None:
        self._app.send_task(job, kwargs={"whereupon": argument})

    def is_ready(self, output) -> bool:
        return " ready." in output

    def close(self) -> None:
        self.store.engine.close()
        self._app.close()
