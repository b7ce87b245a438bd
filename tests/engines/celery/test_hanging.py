"""A broker that hangs: neither the relay nor `whereupon doctor` waits for it."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from celery import Celery

from whereupon import Event, EventStore, SQLiteLedger, subscribe
from whereupon.engine_protocol import WakeUp
from whereupon.engines.celery import CeleryEngine
from whereupon.errors import EngineUnavailable

pytestmark = pytest.mark.slow

PATIENCE = 3.5
"""Seconds: two for the broker, and what a busy machine takes."""


class Rung(Event, name="hanging.rung"):
    number: int


def hear(event: Rung) -> None: ...


@pytest.fixture
def store(broker, tmp_path):
    app = Celery("hanging", broker=broker.url, set_as_current=False)
    store = EventStore(
        subscriptions=[subscribe(hear, to=Rung)],
        ledger=SQLiteLedger(tmp_path / "ledger.sqlite3"),
        engine=CeleryEngine(app),
    )
    store.engine.register(store)
    yield store
    store.engine.close()


@pytest.fixture
def aside():
    """Run what may hang for ever aside, until the broker goes on."""
    with ThreadPoolExecutor(1) as pool:
        yield lambda function: pool.submit(function).result(PATIENCE)


@contextlib.contextmanager
def stopped(pid: int):
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_broker_that_hangs_is_told_within_seconds(store, broker, aside):
    engine = store.engine
    wake_ups = [WakeUp(1, each.subscriber) for each in store.routes]
    engine.enqueue(wake_ups)
    place = f"127.0.0.1:{broker.port}"
    with stopped(broker.pid):
        for _ in range(2):  # on the connection that is open, and on a new one
            began = time.monotonic()
            with pytest.raises(EngineUnavailable, match=f"{place}.* does not take jobs") as told:
                engine.enqueue(wake_ups)
            assert time.monotonic() - began < PATIENCE
            assert "fix: start it (" in str(told.value)
        ((level, text),) = aside(lambda: list(engine.findings()))
    assert level == "error"
    assert place in text
    assert "does not answer" in text
    assert "start it (" in text
    engine.enqueue(wake_ups)
    assert [level for level, _ in engine.findings()] == ["ok", "error"], "it answers, and no worker does"


@pytest.mark.parametrize("broker", ["rabbitmq"], indirect=True)
def test_doctor_does_not_wait_for_an_alarm_of_rabbitmq(store, broker, aside):
    broker.control("set_vm_memory_high_watermark", "0.0001")
    try:
        assert "error" in [level for level, _ in aside(lambda: list(store.engine.findings()))]
    finally:
        broker.control("set_vm_memory_high_watermark", "0.4")
