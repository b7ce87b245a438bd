"""The worker's side of handoff: a job carries envelopes, which are handled here, and nothing is written down.

What has to be tried again becomes a new message; what is set aside fails the job.
"""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from whereupon.deliveries import Claim, Close, Parked, Retry, Waiting
from whereupon.engine_protocol import Message
from whereupon.engines.running import Runner
from whereupon.envelopes import Envelope, InvalidEnvelope
from whereupon.errors import DeliveryFailed, InvalidConfiguration
from whereupon.handling import WAIT_STEP, prepare

if TYPE_CHECKING:
    from collections.abc import Mapping

    from whereupon.store import EventStore
    from whereupon.subscribers import Subscriber
    from whereupon.subscriptions import Subscription

_MOST: Final = 2**31
"""No job failed more often, or waited for more seconds."""


class Received(NamedTuple):
    """What became of a message: what is to be sent again, and why the rest is set aside."""

    again: list[Message]
    parked: list[str]

    def error(self, name: str) -> DeliveryFailed:
        """Return the error with which the job fails, where something is set aside."""
        return DeliveryFailed(
            f"parked: {'; '.join(self.parked)}", where=name, fix="mend the cause, and publish the event again"
        )


class Receiver:
    """Handles messages that an engine hands over, on whatever thread it does, and behind a fork too."""

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._runner = Runner(store)

    def receive(self, message: Message, subscriptions: Mapping[str, Subscription]) -> Received:
        """Handle the events of a message. Each of them succeeds and fails on its own."""
        subscription = subscriptions.get(message.subscription)
        if subscription is None:
            return self._unknown(message)
        claims = [self._claim(number, text, message) for number, text in enumerate(message.envelopes)]
        calls, closes = prepare(self._store, claims, subscription)
        with self._runner.turn(subscription.subscriber):
            for call in calls:
                closes += self._runner.run(call)
        return _sorted(message, closes)

    def _claim(self, number: int, text: str, message: Message) -> Claim:
        return Claim(
            delivery=number, event_id=id_of(text), subscription=message.subscription, token=0,
            attempts=message.attempts, crashes=0, envelope=text, recheck=message.recheck,
            refused_for=message.waited,
        )  # fmt: skip

    def _unknown(self, message: Message) -> Received:
        """Wait for code that knows the subscription, as long as the store says."""
        error = f"no code that knows {message.subscription} came in {message.waited}"
        if message.waited >= self._store.wait_for_code:
            return Received([], [f"refused: {error}"])
        step = min(WAIT_STEP, self._store.wait_for_code / 4)
        return Received([message._replace(delay=step, waited=message.waited + step)], [])


def _sorted(message: Message, closes: list[Close]) -> Received:
    found = Received([], [])
    for claim, result in closes:
        own = message._replace(envelopes=(claim.envelope,))
        match result:
            case Retry():
                found.again.append(own._replace(delay=result.delay, attempts=message.attempts + 1))
            case Waiting():
                waited = message.waited + result.delay
                found.again.append(own._replace(delay=result.delay, waited=waited))
            case Parked():
                found.parked.append(f"{result.reason}: {result.error} (event {claim.event_id})")
            case _:
                pass
    return found


def id_of(text: str) -> str:
    """Return the id of an event in an envelope; a question mark where that cannot be read."""
    try:
        return Envelope.from_json(text).id
    except InvalidEnvelope:
        return "?"


def argument_of(message: Message) -> dict[str, Any]:
    """Write a message as the plain JSON data that a job of any engine can carry."""
    return {
        "subscription": message.subscription,
        "envelopes": list(message.envelopes),
        "recheck": message.recheck,
        "attempts": message.attempts,
        "waited": message.waited.total_seconds(),
    }


def message_in(name: str, subscriber: Subscriber, given: Any) -> Message:
    """Read what `argument_of` has written. Raises `InvalidConfiguration` for anything else."""
    if not (isinstance(given, dict) and given.keys() == _KINDS.keys() and all(map(_fits, given.items()))):
        raise InvalidConfiguration(
            f"the job {name} was given something that is no event",
            fix="publish the event instead; what should call the function directly can do so",
        )
    return Message(
        subscriber, given["subscription"], tuple(given["envelopes"]), recheck=given["recheck"],
        attempts=given["attempts"], waited=timedelta(seconds=given["waited"]),
    )  # fmt: skip


_KINDS: Final[dict[str, tuple[type, ...]]] = {
    "subscription": (str,),
    "envelopes": (list,),
    "recheck": (bool,),
    "attempts": (int,),
    "waited": (int, float),
}


def _fits(item: tuple[str, Any]) -> bool:
    name, value = item
    if type(value) not in _KINDS[name]:
        return False
    if name == "envelopes":
        return bool(value) and all(isinstance(each, str) for each in value)
    return name not in {"attempts", "waited"} or (math.isfinite(value) and 0 <= value < _MOST)
