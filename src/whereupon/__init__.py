"""Domain events for Python monoliths: published once, checked by contract, handled by all who subscribe."""

from msgspec import Meta

from whereupon.envelopes import Envelope
from whereupon.errors import WhereuponError
from whereupon.events import Event, SchemaEvent, contract_of, payload_of
from whereupon.ledger import SQLiteLedger
from whereupon.outcomes import IGNORED, Failed, Park, RetryIn
from whereupon.publishing import apublish, apublish_many, publish, publish_many
from whereupon.store import EventStore
from whereupon.subscribers import subscriber
from whereupon.subscriptions import overlays, subscribe

__version__ = "0.1.0"

__all__ = [
    "IGNORED",
    "Envelope",
    "Event",
    "EventStore",
    "Failed",
    "Meta",
    "Park",
    "RetryIn",
    "SQLiteLedger",
    "SchemaEvent",
    "WhereuponError",
    "apublish",
    "apublish_many",
    "contract_of",
    "overlays",
    "payload_of",
    "publish",
    "publish_many",
    "subscribe",
    "subscriber",
]
