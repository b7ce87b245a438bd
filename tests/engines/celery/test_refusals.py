"""A queue of RabbitMQ that refuses messages as it is full: it is named, and no retry is lost."""

from __future__ import annotations

import pytest

from tests.engines.celery.handoff_rig import Rig
from whereupon import publish
from whereupon.engine_protocol import WakeUp
from whereupon.errors import EngineUnavailable, PublishError

pytestmark = pytest.mark.slow


class Queue:
    """Celery's own queue, which can be full from some length on."""

    def __init__(self, rabbitmq) -> None:
        self._rabbitmq = rabbitmq

    def is_full_with(self, messages: int) -> None:
        policy = f'{{"max-length": {messages}, "overflow": "reject-publish"}}'
        self._rabbitmq.control("set_policy", "full", "^celery$", policy, "--apply-to", "queues")

    def takes_all(self) -> None:
        if "full" in self._rabbitmq.control("list_policies"):
            self._rabbitmq.control("clear_policy", "full")


@pytest.fixture
def queue(rabbitmq):
    rabbitmq.lose_everything()
    queue = Queue(rabbitmq)
    yield queue
    queue.takes_all()


def test_a_full_queue_is_told_to_the_publisher_and_to_the_relay(rabbitmq, queue, tmp_path):
    with Rig(rabbitmq, tmp_path, ONLY="plain,coroutine") as rig:
        publish(rig.event())
        queue.is_full_with(2)
        publish(rig.event())
        with pytest.raises(PublishError, match="overflow=reject-publish") as told:
            publish(rig.event())
        assert "local.plain:app.created" in told.value.subscriptions
        assert f"127.0.0.1:{rabbitmq.port}" in str(told.value)
        assert "fix: start more workers with -Q celery, or raise the x-max-length" in str(told.value)
        queue.is_full_with(3)
        plain = rig.store.routes.by_id["local.plain:app.created"].subscriber
        with pytest.raises(EngineUnavailable, match="the queue celery of the broker") as refused:
            rig.engine.enqueue([WakeUp(number, plain) for number in (1, 2, 3)])
        assert refused.value.sent == 1
        queue.takes_all()
        publish(rig.event())


@pytest.mark.exhaustive
def test_a_retry_that_a_full_queue_refuses_is_not_lost(rabbitmq, queue, tmp_path):
    with Rig(rabbitmq, tmp_path, ONLY="stuck") as rig:
        event = rig.event()
        publish(event)
        rig.start()
        rig.until(lambda: rig.count("start", "stuck")[event.number] == 1)
        queue.is_full_with(0)
        (tmp_path / "go-on").touch()
        rig.until(lambda: rig.count("start", "stuck")[event.number] >= 3)
        assert "parked" not in rig.output(), "each time it is the first attempt of two"
        queue.takes_all()
        rig.until(lambda: "DeliveryFailed('parked: attempts: ValueError" in rig.output())
