"""The engines that are measured: how a worker is started, and how a team sends its own jobs, one by one.

Another engine is one more entry in `ENGINES`, and an application beside `bench/shop/celery_app.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple

from tests import rabbitmq_server

from bench.peers import PeerMissing, django_project, import_peer
from bench.postgres import postgres
from bench.redis_server import redis_server
from whereupon.engine_protocol import Engine

Send = Callable[[int], object]
"""Sends the team's own job for a place, as its manual has it."""


class Measured(NamedTuple):
    """An engine: `broker` starts what it needs and gives a URL, of which the rest is made.

    `sending` makes the engine and `Send`, `ping` what asks the server for nothing but an answer. `worker` are
    the arguments behind `python -m` of a worker as the engine's manual has it, and `jobs` is how many of them
    are a backlog.
    """

    title: str
    call: str
    worker: Sequence[str]
    broker: Callable[[], AbstractContextManager[str]]
    sending: Callable[[str], tuple[Engine, Send]]
    ping: Callable[[str], Callable[[], object]]
    jobs: int = 3_000
    unlike: str = ""


@contextmanager
def _redis() -> Iterator[str]:
    with redis_server() as port:
        yield f"redis://127.0.0.1:{port}/0"


@contextmanager
def _rabbitmq() -> Iterator[str]:
    program = rabbitmq_server.program()
    if program is None:
        raise PeerMissing(f"RabbitMQ is not installed: {rabbitmq_server.WAY}")
    server = rabbitmq_server.RabbitMQ(program)
    try:
        yield server.url
    finally:
        server.end()


@contextmanager
def procrastinate_tables() -> Iterator[str]:
    """Start a server with Procrastinate's tables in a database, and give its URL. Raises `PeerMissing`."""
    peer = import_peer("procrastinate")
    with postgres() as server:
        url = server.new_database("jobs")
        with peer.App(connector=peer.SyncPsycopgConnector(conninfo=url)).open() as app:
            app.schema_manager.apply_schema()
        yield url


@contextmanager
def _django_tables() -> Iterator[str]:
    import_peer("django_tasks_db")
    with postgres() as server:
        url = server.new_database("jobs")
        django_project.set_up(url)
        yield url
        django_project.django_db().connection.close()


def _ping_redis(broker: str) -> Callable[[], object]:
    ping: Callable[[], object] = import_peer("redis").Redis.from_url(broker).ping
    return ping


def _ping_postgres(broker: str) -> Callable[[], object]:
    connection = import_peer("psycopg").connect(broker, autocommit=True)
    return lambda: connection.execute("SELECT 1").fetchone()


def _ping_rabbitmq(broker: str) -> Callable[[], object]:
    channel = import_peer("kombu").Connection(broker).default_channel
    return lambda: channel.basic_qos(prefetch_size=0, prefetch_count=1, a_global=False)


def _celery(broker: str) -> tuple[Engine, Send]:
    app = import_peer("celery").Celery("bench", broker=broker)
    from whereupon.engines.celery import CeleryEngine

    task = app.task(_nothing, name="bench.bare", ignore_result=True)
    return CeleryEngine(app), task.delay


def _dramatiq(broker: str) -> tuple[Engine, Send]:
    peer = import_peer("dramatiq")
    from bench.shop.dramatiq_brokers import broker_at
    from whereupon.engines.dramatiq import DramatiqEngine

    own = broker_at(broker)
    return DramatiqEngine(own), peer.actor(_nothing, actor_name="bench.bare", broker=own).send


def _rq(broker: str) -> tuple[Engine, Send]:
    peer = import_peer("rq")
    connection = import_peer("redis").Redis.from_url(broker)
    from whereupon.engines.rq import RQEngine

    queue = peer.Queue("default", connection=connection)
    return RQEngine(connection), lambda place: queue.enqueue("bench.shop.rq_app.bare", place, result_ttl=0)


def _procrastinate(broker: str) -> tuple[Engine, Send]:
    peer = import_peer("procrastinate")
    from whereupon.engines.procrastinate import ProcrastinateEngine

    app = peer.App(connector=peer.SyncPsycopgConnector(conninfo=broker))
    app.open()
    task = app.task(_nothing, name="bench.bare")
    return ProcrastinateEngine(app), lambda place: task.defer(place=place)


def _django_tasks(broker: str) -> tuple[Engine, Send]:  # noqa: ARG001 - which Django knows
    from bench.shop.django_app import bare
    from whereupon.engines.django_tasks import DjangoTasksEngine

    return DjangoTasksEngine(), bare.enqueue


def _nothing(place: int) -> None:
    """Do nothing."""


BROKER = "BENCH_BROKER"
"""The environment variable that names the broker to a worker."""
_CONFIRMED = "; ours is confirmed by the broker, the loop is not"
_CELERY_WORKER = ("celery", "-A", "bench.shop.celery_app:app", "worker", "-c", "2")
_DRAMATIQ_WORKER = ("dramatiq", "-p", "2", "bench.shop.dramatiq_app:broker")
ENGINES = {
    "celery": Measured("Celery on Redis", ".delay()", _CELERY_WORKER, _redis, _celery, _ping_redis),
    "celery-rabbitmq": Measured(
        "Celery on RabbitMQ", ".delay()", _CELERY_WORKER, _rabbitmq, _celery, _ping_rabbitmq,
        unlike=_CONFIRMED,
    ),
    "dramatiq": Measured("Dramatiq on Redis", "send()", _DRAMATIQ_WORKER, _redis, _dramatiq, _ping_redis),
    "dramatiq-rabbitmq": Measured(
        "Dramatiq on RabbitMQ", "send()", _DRAMATIQ_WORKER, _rabbitmq, _dramatiq, _ping_rabbitmq,
        unlike=_CONFIRMED,
    ),
    "rq": Measured(
        "RQ, without forks", "enqueue()", ("bench.shop.rq_worker",), _redis, _rq, _ping_redis, jobs=1_000
    ),
    "procrastinate": Measured(
        "Procrastinate", "defer()",
        ("procrastinate", "--app", "bench.shop.procrastinate_app.app", "worker", "--concurrency", "10"),
        procrastinate_tables, _procrastinate, _ping_postgres, jobs=1_500,
    ),
    "django-tasks": Measured(
        "Django Tasks", "enqueue()",
        ("django", "db_worker", "--settings", "bench.shop.django_settings", "--no-startup-delay"),
        _django_tables, _django_tasks, _ping_postgres, jobs=600,
    ),
}  # fmt: skip
"""By the word in the name of the row."""
