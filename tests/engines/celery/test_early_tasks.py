"""Tasks of the team's own that acknowledge early, without a ledger, when the broker is away."""

from __future__ import annotations

import os
import signal
from datetime import timedelta

import pytest

from tests.engines.celery.handoff_rig import Rig
from whereupon import publish
from whereupon.engine_protocol import Message
from whereupon.engines import celery_handoff
from whereupon.engines.receiving import argument_of
from whereupon.errors import DeliveryFailed

pytestmark = pytest.mark.slow


def test_a_retry_waits_for_a_broker_that_hangs(redis, tmp_path):
    redis.lose_everything()
    with Rig(redis, tmp_path, ONLY="hasty") as rig:
        rig.start()
        event = rig.event()
        publish(event)
        rig.until(lambda: rig.count("start", "hasty")[event.number] == 1)
        os.kill(redis.pid, signal.SIGSTOP)
        try:
            (tmp_path / "go-on").touch()
            rig.until(lambda: "does not take jobs" in rig.output())
        finally:
            os.kill(redis.pid, signal.SIGCONT)
        rig.until(lambda: rig.count("done", "hasty")[event.number])


def test_a_retry_that_cannot_be_sent_is_a_failed_task(redis, tmp_path, monkeypatch):
    monkeypatch.setattr(celery_handoff, "PATIENCE", timedelta(seconds=1.5))
    with Rig(redis, tmp_path, ONLY="hasty") as rig:
        (rig.module.worker_app.FOLDER / "go-on").touch()
        (record,) = rig.store.records([rig.event()])
        (subscription,) = rig.store.routes
        message = Message(subscription.subscriber, subscription.id, (record.text.decode(),))
        redis.kill()
        try:
            with pytest.raises(DeliveryFailed) as told:
                rig.app.tasks["team.hasty"](whereupon=argument_of(message))
        finally:
            redis.start()
    text = str(told.value)
    assert "parked: unsent: the broker" in text
    assert f"127.0.0.1:{redis.port}/0 does not take jobs" in text
    assert f"(event {record.envelope.id})" in text


def test_doctor_tells_of_them(redis, tmp_path):
    with Rig(redis, tmp_path, ONLY="hasty") as rig:
        texts = [text for _, text in rig.store.ledger.findings()]
    assert any("a broker that is away for 30 s loses retries" in text for text in texts)
