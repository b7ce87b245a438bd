"""What stores and relays ask of an engine: the job system on which a team runs its background work."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from whereupon.errors import WhereuponError
    from whereupon.ledger_protocol import Finding
    from whereupon.store import EventStore
    from whereupon.subscribers import Subscriber
    from whereupon.subscriptions import Subscription


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """What an engine can do; nobody finds out by trying.

    - `one_round_trip`: hundreds of jobs are sent without waiting for an answer in between
    - `atomic_bulk`: of jobs sent together all arrive or none
    - `transactional`: jobs can be sent in the caller's database transaction
    - `delay`: the engine can hold a job back safely
    - `priority`: it starts jobs of a higher priority first
    - `coroutines`: it runs coroutine functions by itself
    - `fetches_ahead`: a process holds jobs that it has not begun, which are gone with it, at least for long
    - `handoff`: it is a `HandoffEngine`, which delivers without a ledger
    - `redelivery`: within which time a job comes back whose worker died; None where it may never
    """

    one_round_trip: bool = False
    atomic_bulk: bool = False
    transactional: bool = False
    delay: bool = False
    priority: bool = False
    coroutines: bool = False
    fetches_ahead: bool = False
    handoff: bool = False
    redelivery: timedelta | None = None


class WakeUp(NamedTuple):
    """A job that carries nothing but the id of a delivery, which the ledger holds."""

    delivery: int
    subscriber: Subscriber


class Message(NamedTuple):
    """One job that carries all that it needs: the envelopes of one event, or of a group, as JSON.

    `subscription` is an id. `delay` counts from the commit. `recheck` is set when the condition raised in
    the publisher: the worker asks it again. So many `attempts` failed before, and so long it has `waited` for
    code that accepts its payload: an engine that tries again by a new message keeps count in them.
    """

    subscriber: Subscriber
    subscription: str
    envelopes: tuple[str, ...]
    delay: timedelta = timedelta(0)
    recheck: bool = False
    attempts: int = 0
    waited: timedelta = timedelta(0)


class Engine(Protocol):
    """A job system with workers of its own. The store asks, the relay sends, the workers handle."""

    @property
    def kind(self) -> str:
        """The word by which the ledger knows its workers: `celery`."""
        ...

    @property
    def features(self) -> Features:
        """What it can do with the broker that it is set to."""
        ...

    def faults_of(self, subscription: Subscription) -> Iterable[WhereuponError]:
        """Yield what this engine cannot honour of a subscription."""
        ...

    def register(self, store: EventStore) -> None:
        """Make a native job of every subscriber of a store, in the process that installs it."""
        ...

    def enqueue(self, wake_ups: Sequence[WakeUp]) -> None:
        """Send wake-ups, in as few round trips as the engine can.

        Raises `EngineUnavailable` within a few seconds when the broker does not take them; some of them may
        have been sent then.
        """
        ...

    def close(self) -> None:
        """Close the connection to the broker that this thread has opened, if any."""
        ...

    def findings(self) -> Iterable[Finding]:
        """Yield what `whereupon doctor` says about the settings of the engine and its broker."""
        ...


class HandoffEngine(Engine, Protocol):
    """An engine that can deliver without a ledger: its own jobs carry the events, and its promise holds."""

    @property
    def promise(self) -> str:
        """What it promises of events that were handed over, in one sentence."""
        ...

    def handoff_faults(self, subscriptions: Sequence[Subscription]) -> Iterable[WhereuponError]:
        """Yield what it cannot honour without a ledger, and the settings that would lose events."""
        ...

    def handoff_findings(self, subscriptions: Sequence[Subscription]) -> Iterable[Finding]:
        """Yield what `whereupon doctor` says about a table without a ledger."""
        ...

    def hand_off(self, messages: Sequence[Message], on: object | None) -> None:
        """Take messages, in as few round trips as the engine can.

        An engine that is `transactional` sends them in the transaction of `on`, or finds one itself where
        that is None. For any other it is None, and the transaction, if there was one, has committed.

        Raises `EngineUnavailable` within a few seconds, which says how many of the messages were taken.
        """
        ...

    async def ahand_off(self, messages: Sequence[Message], on: object | None) -> None:
        """Take messages without blocking the event loop."""
        ...
