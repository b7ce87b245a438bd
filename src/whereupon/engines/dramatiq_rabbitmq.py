"""Sending messages to RabbitMQ where Dramatiq's workers take them: together, confirmed, and in time.

Dramatiq itself waits for each message, tries six times, and waits for ever when a server does not answer.
"""

from __future__ import annotations

import contextlib
import copy
import threading
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

import dramatiq
import pika
from dramatiq.errors import BrokerConnectionError
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.exceptions import AMQPError, ChannelClosedByBroker

from whereupon.engines.answering import Apart

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from collections.abc import Set as AbstractSet

    from dramatiq.brokers.rabbitmq import RabbitmqBroker
    from pika.connection import Parameters

    from whereupon.ledger_protocol import Finding

_SECONDS: Final = 2  # within which a server must answer when a connection is made
_AT_MOST: Final = 5.0  # seconds that anything may take

_T = TypeVar("_T")


class RabbitMQSender:
    """Sends in a transaction of AMQP, which is confirmed once for all messages."""

    server: ClassVar[str] = "rabbitmq-server"

    def __init__(self, broker: RabbitmqBroker) -> None:
        given: Any = broker.parameters if isinstance(broker.parameters, list) else [broker.parameters]
        self.place = " or ".join(f"RabbitMQ at {each.host}:{each.port}" for each in given)
        self._parameters = [_with_deadlines(each) for each in given]
        self._broker = broker
        self._channel: Any = None
        self._returned: list[bytes] = []
        self._apart = Apart("whereupon-rabbitmq")

    def send(self, messages: Sequence[dramatiq.Message[Any]]) -> None:
        """Send messages, and wait until the server has all of them. Raises an OSError."""
        self._within(lambda: self._send(messages))

    def _send(self, messages: Sequence[dramatiq.Message[Any]]) -> None:
        is_used = self._channel is not None
        try:
            unroutable = self._commit(messages)
        except (AMQPError, AMQPConnectorException, OSError):
            self._disconnect()
            if not is_used:
                raise
            unroutable = self._commit(messages)  # the server may have closed what lay idle
        if unroutable:
            self._declare({each.queue_name for each in unroutable})
            if self._commit(unroutable):
                raise ConnectionError("the queues of these messages were deleted as soon as they were made")

    def _commit(self, messages: Sequence[dramatiq.Message[Any]]) -> list[dramatiq.Message[Any]]:
        """Send messages in a transaction, and return those for which there is no queue."""
        channel = self._opened()
        for message in messages:
            channel.basic_publish(
                exchange="", routing_key=message.queue_name, body=message.encode(), mandatory=True,
                properties=pika.BasicProperties(
                    delivery_mode=2, priority=message.options.get("broker_priority")
                ),
            )  # fmt: skip
        channel.tx_commit()
        channel.connection.process_data_events(0)  # what is returned was read, and waits to be handed over
        returned, self._returned = self._returned, []
        return [dramatiq.Message.decode(each) for each in returned]

    def _opened(self) -> Any:
        if self._channel is None:
            self._returned = []
            channel = pika.BlockingConnection(self._parameters).channel()
            channel.add_on_return_callback(lambda _channel, _method, _how, body: self._returned.append(body))
            self._channel = channel
            channel.tx_select()
            channel.basic_publish(exchange="", routing_key="", body=b"")
            channel.tx_commit()  # while nothing is taken, this waits, and not what would be taken afterwards
        return self._channel

    def _declare(self, queues: AbstractSet[str]) -> None:
        """Make queues as the team's broker makes them, a class of their own perhaps."""
        own = copy.copy(self._broker)
        own.middleware, own.state = [], threading.local()
        own.connections, own.channels = set(), set()
        own.queues, own.queues_pending, own.delay_queues = set(), set(), set()
        own.parameters = self._parameters
        try:
            for queue in queues:
                own.declare_queue(queue, ensure=True)
        finally:
            own.close()

    def findings(self, queues: AbstractSet[str]) -> Iterator[Finding]:
        """Yield whether RabbitMQ answers, and which queues nobody consumes. Raises an OSError."""
        idle = self._within(lambda: [each for each in sorted(queues) if not self._consumers(each)])
        yield "ok", f"{self.place} answers"
        for queue in idle:
            yield "error", f"no worker consumes the queue {queue}; start one with dramatiq"

    def _consumers(self, queue: str) -> int:
        channel = self._opened().connection.channel()
        try:
            found = channel.queue_declare(queue=queue, passive=True)
        except ChannelClosedByBroker:  # there is no such queue
            return 0
        channel.close()
        return int(found.method.consumer_count)

    def close(self) -> None:
        """Close the connection, if that is possible in time."""
        try:
            self._apart.within(0 if self._apart.is_late else _SECONDS, self._disconnect)
        finally:
            self._apart.end()

    def _within(self, work: Callable[[], _T]) -> _T:
        """Return what a function returns that pika may hold up. Raises an OSError."""
        try:
            return self._apart.within(_AT_MOST, work)
        except (AMQPError, AMQPConnectorException, BrokerConnectionError) as error:
            raise ConnectionError(str(error) or type(error).__name__) from error

    def _disconnect(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            with contextlib.suppress(AMQPError, OSError):  # it may be broken
                channel.connection.close()


def _with_deadlines(given: Parameters) -> Any:
    parameters: Any = copy.copy(given)
    parameters.socket_timeout = parameters.stack_timeout = _SECONDS
    parameters.blocked_connection_timeout = _SECONDS
    parameters.connection_attempts = 1
    parameters.heartbeat = 0  # nobody would send any while there is nothing to send
    return parameters
