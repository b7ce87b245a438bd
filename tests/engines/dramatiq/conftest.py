"""Brokers of the tests' own, which they may kill."""

from __future__ import annotations

import pytest

from tests.broker_servers import RabbitMQ, Redis


@pytest.fixture(scope="session")
def redis():
    server = Redis()
    yield server
    server.end()


@pytest.fixture(scope="session")
def rabbitmq():
    server = RabbitMQ()
    yield server
    server.end()
