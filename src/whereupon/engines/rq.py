"""RQ: each subscriber is a job of its own, on RQ's workers, of a class of ours.

    rq worker --worker-class whereupon.engines.rq.Worker

A job carries the id of a delivery only, as JSON, whatever serializer the team's own jobs have. It is gone
from Redis when it has run: what a dead worker had in hand comes back from the ledger.
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import redis
from rq import Queue
from rq import SimpleWorker as _SimpleWorker
from rq import Worker as _Worker
from rq.exceptions import DeserializationError
from rq.serializers import JSONSerializer
from rq.timeouts import JobTimeoutException
from rq.utils import as_text
from rq.worker import BaseWorker

from whereupon.engine_protocol import Features
from whereupon.engines import redis_clients, rq_jobs
from whereupon.engines.beside import name_of
from whereupon.engines.delivering import Deliverer
from whereupon.engines.helper import Helper
from whereupon.engines.jobs import ARGUMENT, Job, checked, job_name, jobs_of
from whereupon.engines.time_limits import limited
from whereupon.errors import EngineUnavailable, InvalidConfiguration, InvalidSubscriber
from whereupon.loading import load_store, store_name
from whereupon.store import installed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from whereupon.engine_protocol import WakeUp
    from whereupon.errors import WhereuponError
    from whereupon.ledger_protocol import Finding
    from whereupon.store import EventStore
    from whereupon.subscribers import Subscriber
    from whereupon.subscriptions import Subscription

_KEPT: Final = 60  # seconds that RQ keeps a job that failed
_WAITS: Final = 7_200  # seconds that a job waits for a worker: as long as two wake-ups are apart, and again
_HARD: Final = 10  # seconds above the time limits of all calls, until RQ ends the job
_NEVER: Final = -1  # RQ's word for no time limit
_PATH: Final = f"{rq_jobs.__name__}."
_HEAD: Final = 64  # bytes of a job within which its function is named, also in a pickled one
_MARK: Final = "whereupon"  # a field of the workers that are ours


class RQEngine:
    """Runs subscribers as jobs of RQ, in the Redis that `connection` leads to.

    `store_name` is where the helper process finds the store, `shop.event_store:store`; it is looked for in
    the loaded modules if left out.
    """

    kind: Final = "rq"
    features: Final = Features(one_round_trip=True, atomic_bulk=True)

    def __init__(self, connection: redis.Redis, *, store_name: str | None = None) -> None:
        self._pool = connection.connection_pool
        self._store_name = store_name
        self._subscribers: list[Subscriber] = []
        self._timeouts: dict[str, int] = {}
        self._deliverer: Deliverer | None = None
        self._store: EventStore | None = None
        self._opened: redis.Redis | None = None
        self._queues: dict[str, Queue] = {}

    def faults_of(self, subscription: Subscription) -> Iterable[WhereuponError]:
        """Yield what RQ cannot honour of a subscription: it has no priorities."""
        subscriber = subscription.subscriber
        if subscriber.options.priority != "normal":
            yield InvalidSubscriber(
                f"RQ has no priorities, and {subscriber.name} says priority={subscriber.options.priority!r}",
                where=subscriber.where,
                fix="give it a queue of its own, and name that queue first when you start workers",
            )

    def register(self, store: EventStore) -> None:
        """Make a job of each subscriber, for the workers of this process."""
        self._store, self._deliverer = store, Deliverer(store, self.kind)
        for job in jobs_of(store.routes):
            timeout = job.limit(store)
            if timeout is not None:
                self._timeouts[job.name] = math.ceil((timeout * job.calls).total_seconds()) + _HARD
                function = limited(job.subscriber.function, timeout, JobTimeoutException)
                job.use(replace(job.subscriber, function=function))
            rq_jobs.functions[job.name] = self._function(self._deliverer, job)
            self._subscribers.append(job.subscriber)

    def _function(self, deliverer: Deliverer, job: Job) -> Any:
        def handle(*arguments: Any, **given: Any) -> None:
            deliverer.deliver(checked(job.name, given if not arguments else {}), job.subscriptions)

        return handle

    def enqueue(self, wake_ups: Sequence[WakeUp]) -> None:
        """Send wake-ups in one round trip, whatever queues they go to. Raises `EngineUnavailable`."""
        by_queue: dict[str, list[Any]] = defaultdict(list)
        for each in wake_ups:
            by_queue[each.subscriber.options.queue].append(self._data(each))
        with self._translated():
            pipeline = self._connection().pipeline()
            for name, datas in by_queue.items():
                self._queue(name).enqueue_many(datas, pipeline=pipeline)
            pipeline.execute()

    def _data(self, wake_up: WakeUp) -> Any:
        name = job_name(wake_up.subscriber)
        return Queue.prepare_data(
            f"{_PATH}{name}",
            kwargs={ARGUMENT: [wake_up.delivery]},
            description=name,
            timeout=self._timeouts.get(name, _NEVER),
            ttl=_WAITS,
            result_ttl=0,
            failure_ttl=_KEPT,
        )

    def _connection(self) -> redis.Redis:
        """Return a connection of our own, on which nothing takes long."""
        if self._opened is None:
            self._opened = redis_clients.with_deadlines(self._pool)
        return self._opened

    def _queue(self, name: str) -> Queue:
        """Return a queue, which is kept: a new one asks the server for its version first."""
        if name not in self._queues:
            self._queues[name] = Queue(name, connection=self._connection(), serializer=JSONSerializer)
        return self._queues[name]

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn what goes wrong with Redis into `EngineUnavailable`, and begin with a new connection."""
        try:
            yield
        except (redis.RedisError, OSError) as error:
            self.close()
            raise EngineUnavailable(
                f"{redis_clients.place_of(self._pool)} does not take jobs ({type(error).__name__}: {error})",
                fix="start it (redis-server), or mend the connection of the engine; nothing is lost",
            ) from error

    def close(self) -> None:
        """Close the connection; the next use opens another one."""
        opened, self._opened, self._queues = self._opened, None, {}
        if opened is not None:
            opened.connection_pool.disconnect()

    def findings(self) -> Iterator[Finding]:
        """Yield whether Redis answers, who consumes the subscribers' queues, and what is unsafe."""
        try:
            yield from redis_clients.findings_of(self._connection())
            consumers = self._consumers()
        except (redis.RedisError, OSError) as error:
            self.close()
            yield "error", f"{redis_clients.place_of(self._pool)} does not answer: {error}"
        else:
            yield from self._of_workers(consumers)

    def _consumers(self) -> list[tuple[set[str], bool]]:
        """Return the queues of each worker that RQ knows, and whether it is one of ours.

        RQ's own way to ask would change the time limits of the connections that it asks through.
        """
        connection = self._connection()
        known = [connection.hmget(key, "queues", _MARK) for key in BaseWorker.all_keys(connection)]
        return [(set(as_text(queues).split(",")), bool(mark)) for queues, mark in known if queues]

    def _of_workers(self, consumers: list[tuple[set[str], bool]]) -> Iterator[Finding]:
        queues = {each.options.queue for each in self._subscribers}
        for queue in sorted(queues.difference(*(names for names, is_ours in consumers if is_ours))):
            yield "error", f"no worker of class {__name__}.Worker consumes the queue {queue}; start one"
        strangers = sum(not is_ours and bool(queues & names) for names, is_ours in consumers)
        if strangers:
            text = f"{strangers} RQ workers of another class consume queues of subscribers"
            yield (
                "error",
                f"{text}, whose jobs they cannot read; start them with --worker-class {__name__}.Worker",
            )

    def deliverer(self) -> Deliverer:
        """Return what handles in this process. Raises `InvalidConfiguration` before `register`."""
        if self._deliverer is None:
            raise InvalidConfiguration(
                "the store of this engine is not installed", fix="call store.install()"
            )
        return self._deliverer

    def helped(self) -> str:
        """Return the name under which a helper process finds the store. Raises `InvalidConfiguration`."""
        if self._store is None:
            raise InvalidConfiguration(
                "the store of this engine is not installed", fix="call store.install()"
            )
        return name_of(self._store, self._store_name)


class Serializer:
    """Reads our jobs as JSON, and leaves the team's own to the serializer that the worker was given."""

    def __init__(self, own: Any) -> None:
        self._own = own

    def dumps(self, value: Any) -> bytes:
        """Write as the team's own serializer does."""
        return bytes(self._own.dumps(value))

    def loads(self, data: bytes) -> Any:
        """Read a job. Raises `DeserializationError` for one of ours that is not JSON.

        That is not read at all where it says plainly that it is ours, as what pickle itself writes does.
        """
        if data.startswith(f'["{_PATH}'.encode()):
            return json.loads(data)
        if _PATH.encode() not in data[:_HEAD]:
            loaded = self._own.loads(data)
            if not (isinstance(loaded, tuple | list) and loaded and str(loaded[0]).startswith(_PATH)):
                return loaded
        raise DeserializationError("a job of whereupon that is not JSON is no wake-up")


class _Helped(BaseWorker):
    """A worker with a helper beside it, whose processes give back what they hold when they end."""

    max_connection_wait_time = 5.0  # seconds between two tries while Redis is away; RQ's are up to 60

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.serializer: Any = Serializer(self.serializer)

    def work(self, *given: Any, **named: Any) -> bool:
        """Work with a helper beside; a worker for which none could find the store does not start."""
        try:
            engine = _engine()
            helper = Helper(engine.helped())
        except InvalidConfiguration as error:
            sys.exit(str(error))
        try:
            return super().work(*given, **named)
        finally:
            helper.stop()
            engine.deliverer().close()

    def register_birth(self) -> None:
        """Tell RQ, and doctor, that this worker is there."""
        super().register_birth()  # type: ignore[no-untyped-call]
        self.connection.hset(self.key, _MARK, "1")


class Worker(_Helped, _Worker):
    """RQ's worker, which forks for each job."""

    def perform_job(self, *given: Any, **named: Any) -> bool:
        """Run a job in the fork, which is known to the ledger as long as it lives."""
        try:
            return super().perform_job(*given, **named)
        finally:
            _engine().deliverer().close()


class SimpleWorker(_Helped, _SimpleWorker):
    """RQ's worker that forks for no job: four times as fast, and ended by what ends a handler's process."""


def _engine() -> RQEngine:
    """Return the engine of the installed store, which is loaded if none is."""
    store = installed()
    if store is None:
        store = load_store(store_name(None))
        store.install()
    if not isinstance(store.engine, RQEngine):
        raise InvalidConfiguration(
            "the installed store has no RQEngine", fix="pass engine=RQEngine(connection)"
        )
    return store.engine
