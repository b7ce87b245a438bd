"""The engines whose workers are measured: how each is started, and how its own bare jobs are sent.

Another engine is one more entry in `ENGINES`, and an application beside `bench/shop/celery_app.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple

from bench.peers import import_peer
from bench.redis_server import redis_server


class Measured(NamedTuple):
    """An engine: `broker` starts what it needs and gives a URL, `send` sends its own job for each place.

    `worker` are the arguments behind `python -m` of a worker as the engine's manual has it.
    """

    title: str
    worker: Sequence[str]
    broker: Callable[[], AbstractContextManager[str]]
    send: Callable[[str, range], None]


@contextmanager
def _redis() -> Iterator[str]:
    with redis_server() as port:
        yield f"redis://127.0.0.1:{port}/0"


def _send_to_celery(broker: str, places: range) -> None:
    app = import_peer("celery").Celery("bench", broker=broker)
    with app.connection_for_write() as connection, app.amqp.Producer(connection) as producer:
        for place in places:
            app.send_task("bench.bare", args=[place], producer=producer, ignore_result=True)


BROKER = "BENCH_BROKER"
"""The environment variable that names the broker to a worker."""
ENGINES = {
    "celery": Measured(
        "Celery on Redis",
        ("celery", "-A", "bench.shop.celery_app:app", "worker", "-c", "2"),
        _redis,
        _send_to_celery,
    ),
}
"""By the word in the name of the row."""
