"""A Redis of RQ's own, which the tests may kill."""

from __future__ import annotations

import pytest

from tests.broker_servers import Redis


@pytest.fixture(scope="session")
def redis_server():
    server = Redis()
    yield server
    server.end()
