"""Envelopes: one published event as a CloudEvents 1.0 JSON object, and the context around it."""

from __future__ import annotations

import os
import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from whereupon import codec
from whereupon.events import contract_of, payload_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from whereupon.events import BaseEvent

_DATASCHEMA: Final = "urn:whereupon:contract:"
ATTRIBUTES: Final = frozenset(
    {"specversion", "id", "source", "type", "time", "subject", "datacontenttype", "dataschema", "data"}
    | {"correlationid", "causationid"}
)
"""The names in an envelope that no extension can have."""
_TEXTS: Final = ("id", "source", "type", "time")


class InvalidEnvelope(ValueError):
    """A text is not an envelope; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """One published event on its way: who stated what, when, and because of what.

    `id` is unique and roughly ordered by time (UUIDv7). `time` is UTC. `correlation_id` is shared by all
    events of one business flow, `causation_id` is the id of the event whose handling published this one.
    `fingerprint` is the contract it was checked with. `extensions` is the ambient context that
    `EventStore(carry=…)` added. `data` is the payload as plain JSON data.
    """

    id: str
    type: str
    source: str
    time: datetime
    fingerprint: str
    correlation_id: str
    causation_id: str | None = None
    subject: str | None = None
    extensions: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, Any] = field(repr=False)

    def to_json(self) -> bytes:
        """Write the envelope as a CloudEvents 1.0 JSON object."""
        document: dict[str, Any] = {
            "specversion": "1.0",
            "id": self.id,
            "source": self.source,
            "type": self.type,
            "time": self.time.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "datacontenttype": "application/json",
            "dataschema": f"{_DATASCHEMA}{self.type}:{self.fingerprint}",
            "correlationid": self.correlation_id,
        }
        if self.causation_id is not None:
            document["causationid"] = self.causation_id
        if self.subject is not None:
            document["subject"] = self.subject
        return codec.encode(dict(self.extensions) | document | {"data": self.data})

    @classmethod
    def from_json(cls, text: bytes | str) -> Envelope:
        """Read an envelope. Raises `InvalidEnvelope` for anything that is not one."""
        try:
            document = codec.decode(text)
        except codec.NotStrict as error:
            raise InvalidEnvelope(str(error)) from None
        return _from_document(document)


def _from_document(document: Any) -> Envelope:
    if not isinstance(document, dict) or document.get("specversion") != "1.0":
        raise InvalidEnvelope("it is not a CloudEvents 1.0 object")
    for name in _TEXTS:
        if not (isinstance(document.get(name), str) and document[name]):
            raise InvalidEnvelope(f"the attribute {name} is missing or not text")
    if not isinstance(document.get("data"), dict):
        raise InvalidEnvelope("data is not a JSON object")
    try:
        moment = datetime.fromisoformat(document["time"])
    except ValueError:
        raise InvalidEnvelope("the attribute time is not a date and time") from None
    dataschema = document.get("dataschema")
    return Envelope(
        id=document["id"],
        type=document["type"],
        source=document["source"],
        time=moment if moment.tzinfo else moment.replace(tzinfo=UTC),
        fingerprint=str(dataschema).rpartition(":")[2] if isinstance(dataschema, str) else "",
        correlation_id=_text(document, "correlationid") or document["id"],
        causation_id=_text(document, "causationid"),
        subject=_text(document, "subject"),
        extensions={
            name: value
            for name, value in document.items()
            if name not in ATTRIBUTES and isinstance(value, str)
        },
        data=document["data"],
    )


def _text(document: dict[str, Any], name: str) -> str | None:
    value = document.get(name)
    return value if isinstance(value, str) and value else None


handled: ContextVar[Envelope | None] = ContextVar("whereupon_handled", default=None)
"""The envelope that is being handled; what is published meanwhile names it as its cause."""


def seal(event: BaseEvent, extensions: Mapping[str, str], subject: str | None = None) -> Envelope:
    """Put an event into a new envelope: id and time are made here."""
    contract = contract_of(type(event))
    cause = handled.get()
    nanoseconds = time.time_ns()
    identity = new_id(nanoseconds)
    return Envelope(
        id=identity,
        type=contract.name,
        source=f"/{contract.context}",
        time=datetime.fromtimestamp(nanoseconds / 1e9, UTC),
        fingerprint=contract.fingerprint,
        correlation_id=cause.correlation_id if cause else identity,
        causation_id=cause.id if cause else None,
        subject=subject,
        extensions={**cause.extensions, **extensions} if cause else extensions,
        data=payload_of(event),
    )


def new_id(nanoseconds: int) -> str:
    """Make a UUIDv7 (RFC 9562) from a time in nanoseconds since 1970 and 74 random bits."""
    random = int.from_bytes(os.urandom(10))
    value = (nanoseconds // 1_000_000 & (1 << 48) - 1) << 80
    value |= 0x7 << 76 | (random >> 62 & 0xFFF) << 64 | 0b10 << 62 | random & (1 << 62) - 1
    return str(UUID(int=value))
