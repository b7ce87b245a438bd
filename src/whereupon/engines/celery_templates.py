"""Messages of Celery made from a template, and sent to Redis in one round trip.

`send_task` makes a message anew for each subscriber, and waits for Redis each time. Here it makes two, which
are kept from being sent: the first becomes the template, and the template must be able to write the second
one exactly. Where it cannot, or anything is set that could tell messages of one task apart (signals, routing
functions, headers of somebody else), there is no template, and messages are sent one by one.
"""

from __future__ import annotations

import json
import logging
import os
from base64 import b64decode, b64encode
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from celery import signals
from celery.app.base import Celery
from celery.app.routes import Router
from kombu.messaging import Producer

from whereupon.codec import encode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Send = Callable[..., object]

_log = logging.getLogger("whereupon.publish")
_SLOTS: Final = ("id", "root_id", "parent_id", "eta", "kwargsrepr")
_TRANSPORT: Final = ("kombu.transport.redis", "Transport")
_PUBLISHED: Final = (signals.before_task_publish, signals.after_task_publish, signals.task_sent)


class Filling(NamedTuple):
    """What differs from message to message of one task: the argument as JSON, and headers."""

    argument: str
    shown: str
    delay: timedelta = timedelta(0)
    root: str | None = None
    parent: str | None = None


class Template(NamedTuple):
    """The message of one task with holes in it, and the list of Redis that it is pushed to."""

    key: str
    text: str
    head: bytes
    tail: bytes

    def fill(self, filling: Filling, identity: str | None = None) -> str:
        """Write a message as it lies in Redis."""
        own = f'"{identity or _new_id()}"'
        eta = (datetime.now(UTC) + filling.delay).isoformat() if filling.delay else None
        return self.text % {
            "id": own,
            "root_id": _written(filling.root) if filling.root else own,
            "parent_id": _written(filling.parent),
            "eta": _written(eta),
            "kwargsrepr": _written(filling.shown),
            "body": b64encode(self.head + filling.argument.encode() + self.tail).decode(),
        }


def _written(text: str | None) -> str:
    return "null" if text is None else encode(text).decode()


def _new_id() -> str:
    """Make a random UUID, five times as fast as the uuid module does."""
    text = os.urandom(16).hex()
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"


def is_listened_to() -> bool:
    """Tell whether anybody wants to see messages while they are sent."""
    return any(signal.receivers for signal in _PUBLISHED)


def _allows_templates(app: Celery, producer: Producer) -> bool:
    """Tell whether an application sends as Celery does by itself, and to Redis."""
    conf = app.conf
    connection: Any = producer.connection
    transport = connection.transport
    return (
        (type(transport).__module__, type(transport).__name__) == _TRANSPORT
        and conf.task_protocol == 2
        and not conf.task_send_sent_event
        and not conf.task_compression
        and isinstance(conf.task_routes, dict | None)
        and type(app.amqp.router) is Router
        and all(map(_is_their_own, (type(app).send_task, type(producer).publish)))
        and all(hasattr(producer.channel, name) for name in ("Client", "pool", "global_keyprefix"))
    )


def _is_their_own(function: Any) -> bool:
    return function in {Celery.send_task, Producer.publish} and not hasattr(function, "__wrapped__")


def template_of(app: Celery, producer: Producer, send: Send, argument: str) -> Template | None:
    """Return the template of what `send` sends, whose task takes one argument of that name; None for none.

    `send` takes what `Celery.send_task` does, but for the name of the task and how it is sent. Where kombu is
    built otherwise than those versions that are known there is none either.
    """
    try:
        return _checked(app, producer, send, argument) if _allows_templates(app, producer) else None
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        _log.warning("messages for Celery are sent one by one, as its own look strange: %r", error)
        return None


def _checked(app: Celery, producer: Producer, send: Send, argument: str) -> Template | None:
    trial = Filling('["\\u00e9", {"%s": "%"}]', "shown %s", timedelta(0), "root", "parent")
    first = _kept(producer, send, argument, Filling("[1]", "x"), "first")
    second = _kept(producer, send, argument, trial, "second")
    known = app.amqp.as_task_v2("id", "name").headers.keys()
    if first is None or second is None or not first[1]["headers"].keys() <= known:
        return None
    template = _cut(*first)
    if template is None or second[0] != template.key:
        return None
    written = json.loads(template.fill(trial, "second"))
    return template if _comparable(written) == _comparable(second[1]) else None


def _kept(
    producer: Producer, send: Send, argument: str, filling: Filling, identity: str
) -> tuple[str, dict[str, Any]] | None:
    """Let a message be made, keep it from being sent, and return its list and what would be pushed there."""
    channel: Any = producer.channel
    kept: list[tuple[str, dict[str, Any]]] = []
    channel._put = lambda queue, message, **_: kept.append((queue, message))  # noqa: SLF001 - kombu's
    try:
        send(
            kwargs={argument: json.loads(filling.argument)}, kwargsrepr=filling.shown, task_id=identity,
            root_id=filling.root, parent_id=filling.parent,
        )  # fmt: skip
    finally:
        del channel._put  # noqa: SLF001
    if len(kept) != 1:
        return None
    queue, message = kept[0]
    if queue in getattr(channel, "_expires", ()) or message["headers"]["expires"]:
        return None
    key = channel._q_for_pri(queue, channel._get_message_priority(message, reverse=False))  # noqa: SLF001
    return key, json.loads(json.dumps(message))


def _cut(key: str, message: dict[str, Any]) -> Template | None:
    """Cut the holes into a message."""
    body = json.loads(b64decode(message["body"]))
    (argument,) = body[1]
    body[1][argument] = "@argument@"
    head, _, tail = json.dumps(body).partition('"@argument@"')
    headers, properties = message["headers"], message["properties"]
    holes = {name: f"@{name}@" for name in _SLOTS}
    in_properties = holes | {"correlation_id": "@id@", "delivery_tag": "@id@"}
    shaped = message | {
        "body": "@body@",
        "headers": headers | holes,
        "properties": {name: in_properties.get(name, value) for name, value in properties.items()},
    }
    text = json.dumps(shaped).replace("%", "%%").replace("@body@", "%(body)s")
    for name, hole in holes.items():
        text = text.replace(f'"{hole}"', f"%({name})s")
    return Template(key, text, head.encode(), tail.encode())


def _comparable(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message without what is random, and with its body read."""
    properties = {name: value for name, value in message["properties"].items() if name != "delivery_tag"}
    return {**message, "properties": properties, "body": json.loads(b64decode(message["body"]))}


class Pusher:
    """A connection to Redis of its own, on which any number of messages takes one write and one answer.

    redis-py would write them in pieces of 6,000 bytes.
    """

    def __init__(self, producer: Producer) -> None:
        channel: Any = producer.channel
        self._client = channel.Client(connection_pool=channel.pool, single_connection_client=True)
        self._prefix: str = channel.global_keyprefix

    def push(self, messages: Sequence[tuple[str, str]]) -> None:
        """Push messages to lists, all of them or none. Raises what redis-py does."""
        values: dict[str, list[str]] = {}
        for key, text in messages:
            values.setdefault(self._prefix + key, []).append(text)
        commands: list[tuple[str, ...]] = [("LPUSH", key, *texts) for key, texts in values.items()]
        if len(commands) > 1:
            commands = [("MULTI",), *commands, ("EXEC",)]
        connection = self._client.connection
        connection.send_packed_command([b"".join(connection.pack_commands(commands))])
        answers = [connection.read_response() for _ in commands]
        for each in answers[-1] if isinstance(answers[-1], list) else ():
            if isinstance(each, Exception):
                raise each

    def close(self) -> None:
        """Close the connection."""
        self._client.close()
