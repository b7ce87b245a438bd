"""Sending messages to Dramatiq's brokers, on connections of our own on which nothing takes long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import redis
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.redis import RedisBroker

from whereupon.engines import redis_clients
from whereupon.engines.dramatiq_rabbitmq import RabbitMQSender
from whereupon.errors import InvalidConfiguration

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from collections.abc import Set as AbstractSet

    import dramatiq

    from whereupon.ledger_protocol import Finding


class Sender(Protocol):
    """Sends to one server. `place` says where that is, without passwords; `server` what is started there."""

    place: str
    server: ClassVar[str]

    def send(self, messages: Sequence[dramatiq.Message[Any]]) -> None:
        """Send messages. Raises an OSError within a few seconds; some may be sent then."""
        ...

    def findings(self, queues: AbstractSet[str]) -> Iterator[Finding]:
        """Yield whether the server answers, and what is unsafe there. Raises an OSError."""
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
    """Sends in one pipeline, as one more broker beside the team's, with the same settings.

    Redis keeps a heartbeat of each broker, and any broker clears up after the others by its own settings. So
    there is one for as long as this lives, and it must not forget dead letters sooner than the team says.
    """

    server: ClassVar[str] = "redis-server"

    def __init__(self, broker: RedisBroker) -> None:
        self._client = redis_clients.with_deadlines(broker.client.connection_pool)
        self.place = redis_clients.place_of(self._client.connection_pool)
        self._is_measured = False
        self._settings = {
            "namespace": broker.namespace, "maintenance_chance": broker.maintenance_chance,
            "heartbeat_timeout": broker.heartbeat_timeout, "dead_message_ttl": broker.dead_message_ttl,
        }  # fmt: skip
        self._pipeline = self._client.pipeline(transaction=False)
        self._broker = self._broker_on(self._pipeline)

    def _broker_on(self, client: redis.Redis) -> RedisBroker:
        return RedisBroker(client=client, middleware=[], **self._settings)  # type: ignore[no-untyped-call]

    def send(self, messages: Sequence[dramatiq.Message[Any]]) -> None:
        """Send Dramatiq's script and all messages together, in one round trip."""
        try:
            self._measure()
            self._pipeline.script_load(self._broker.scripts["dispatch"].script)
            for message in messages:
                self._broker.enqueue(message)
            self._pipeline.scripts.clear()  # or redis-py would ask first whether the script is there
            self._pipeline.execute()
        except redis.RedisError as error:
            raise ConnectionError(str(error)) from error
        finally:
            self._pipeline.reset()

    def _measure(self) -> None:
        """Let Dramatiq find out how much its script may hold, once, which it cannot within a pipeline."""
        if not self._is_measured:
            measuring = self._broker_on(self._client)
            measuring.broker_id = self._broker.broker_id
            measuring.do_qsize("default")
            self._is_measured = True

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
