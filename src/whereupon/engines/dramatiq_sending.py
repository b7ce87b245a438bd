"""Sending messages to Dramatiq's brokers, on connections of our own on which nothing takes long."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

import redis
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.redis import RedisBroker
from pika.exceptions import AMQPError, ChannelClosedByBroker

from whereupon.engines import redis_clients
from whereupon.errors import InvalidConfiguration

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from collections.abc import Set as AbstractSet

    import dramatiq
    from pika.connection import Parameters

    from whereupon.ledger_protocol import Finding

_SECONDS: Final = 2  # within which a server must answer


class Sender(Protocol):
    """Sends to one server. `place` says where that is, without passwords; `server` what is started there."""

    place: str
    server: ClassVar[str]

    def send(self, messages: Sequence[dramatiq.Message[Any]]) -> None:
        """Send messages. Raises an OSError or Dramatiq's own error of connections; some may be sent then."""
        ...

    def findings(self, queues: AbstractSet[str]) -> Iterator[Finding]:
        """Yield whether the server answers, and what is unsafe there. Raises the same errors."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


def sender_to(broker: dramatiq.Broker) -> Sender:
    """Return what sends to the server of a broker. Raises `InvalidConfiguration` for an unknown kind."""
    if isinstance(broker, RabbitmqBroker):
        return RabbitMQSender(broker)
    if isinstance(broker, RedisBroker):
        return RedisSender(broker)
    raise InvalidConfiguration(
        f"brokers of the class {type(broker).__name__} are not supported",
        fix="give the engine a RabbitmqBroker or a RedisBroker",
    )


class RedisSender:
    """Sends in one pipeline, in the namespace of the team's broker."""

    server: ClassVar[str] = "redis-server"

    def __init__(self, broker: RedisBroker) -> None:
        self._namespace = broker.namespace
        self._is_measured = False
        self._client = redis_clients.with_deadlines(broker.client.connection_pool)
        self.place = redis_clients.place_of(self._client.connection_pool)

    def send(self, messages: Sequence[dramatiq.Message[Any]]) -> None:
        """Send messages together: one round trip for Dramatiq's script, and one for all of them."""
        try:
            if not self._is_measured:  # by Dramatiq, once for each process, and not within a pipeline
                self._broker(self._client).do_qsize("default")
                self._is_measured = True
            pipeline = self._client.pipeline(transaction=False)
            broker = self._broker(pipeline)
            for message in messages:
                broker.enqueue(message)
            pipeline.execute()
        except redis.RedisError as error:
            raise ConnectionError(str(error)) from error

    def _broker(self, client: redis.Redis) -> RedisBroker:
        return RedisBroker(  # type: ignore[no-untyped-call]
            client=client, namespace=self._namespace, middleware=[]
        )

    def findings(self, queues: AbstractSet[str]) -> Iterator[Finding]:
        """Yield whether Redis answers, and whether it throws messages away. Nobody knows who consumes."""
        del queues
        try:
            yield from redis_clients.findings_of(self._client)
        except redis.RedisError as error:
            raise ConnectionError(str(error)) from error

    def close(self) -> None:
        """Close the connection."""
        self._client.connection_pool.disconnect()


class RabbitMQSender:
    """Sends one by one, each confirmed by the server."""

    server: ClassVar[str] = "rabbitmq-server"

    def __init__(self, broker: RabbitmqBroker) -> None:
        self._broker = RabbitmqBroker(confirm_delivery=True, max_priority=broker.max_priority, middleware=[])
        given: Any = broker.parameters if isinstance(broker.parameters, list) else [broker.parameters]
        self._broker.parameters = [_with_deadlines(each) for each in given]
        self.place = " or ".join(f"RabbitMQ at {each.host}:{each.port}" for each in given)

    def send(self, messages: Sequence[dramatiq.Message[Any]]) -> None:
        """Send messages, and wait until each is confirmed."""
        for message in messages:
            self._broker.enqueue(message)

    def findings(self, queues: AbstractSet[str]) -> Iterator[Finding]:
        """Yield whether RabbitMQ answers, and which queues nobody consumes."""
        try:
            self._broker.channel  # noqa: B018 - opens the connection
            yield "ok", f"{self.place} answers"
            for queue in sorted(queues):
                if not self._consumers(queue):
                    yield "error", f"no worker consumes the queue {queue}; start one with dramatiq"
        except AMQPError as error:
            raise ConnectionError(repr(error)) from error

    def _consumers(self, queue: str) -> int:
        try:
            found = self._broker.channel.queue_declare(queue=queue, passive=True)
        except ChannelClosedByBroker:  # there is no such queue
            del self._broker.channel
            return 0
        return int(found.method.consumer_count)

    def close(self) -> None:
        """Close the connection."""
        self._broker.close()


def _with_deadlines(given: Parameters) -> Any:
    parameters: Any = copy.copy(given)
    parameters.socket_timeout = parameters.stack_timeout = _SECONDS
    parameters.blocked_connection_timeout = _SECONDS
    parameters.connection_attempts = 1
    return parameters
