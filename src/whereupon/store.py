"""The store: the frozen table of subscriptions, with the ledger and the engine that deliver."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, NamedTuple
from uuid import uuid4

from whereupon.codec import TEXT_LIMIT
from whereupon.deliveries import NewDelivery
from whereupon.engine_protocol import Engine  # noqa: TC001 - the type of a field
from whereupon.envelopes import ATTRIBUTES, Envelope, seal
from whereupon.errors import (
    ConditionFailed,
    Fault,
    InvalidContract,
    InvalidEvent,
    InvalidStore,
    InvalidSubscriber,
    StoreConflict,
    WhereuponError,
)
from whereupon.events import BaseEvent, contract_of, payload_of
from whereupon.failures import describe_failure
from whereupon.handoff import AfterCommit, Handoff, OnPublishError
from whereupon.ledger_protocol import Ledger, Record
from whereupon.naming import location_of
from whereupon.payloads import strict_faults
from whereupon.routing import Routes, build_routes
from whereupon.subscriptions import Subscription, location

Carry = Callable[[], Mapping[str, str]]
Around = Callable[[Envelope], AbstractContextManager[object]]

SPREAD_GROUPS: Final = 100
"""More groups than this from one publish are spread over time, this many at once."""

_REPORT_INTERVAL: Final = 60.0
"""How many seconds lie between two reports of one slow condition."""

_log = logging.getLogger("whereupon.publish")
_reported: dict[str, float] = {}  # the subscription, and when its slow condition was reported (monotonic)
_EXTENSION = re.compile(r"[a-z0-9]{1,20}", re.ASCII)


class Plan(NamedTuple):
    """Who gets one event: the pure result of the table and its conditions.

    `rechecked` are those of `subscriptions` whose condition raised and is asked again by the worker.
    """

    subscriptions: tuple[Subscription, ...]
    skipped: tuple[Subscription, ...] = ()
    rechecked: tuple[Subscription, ...] = ()


_NOBODY = Plan(())


def _report_slow(subscription: Subscription, seconds: float, budget: timedelta) -> None:
    """Warn of a condition over its budget, unless that has been said a moment ago."""
    now = time.monotonic()
    if now < _reported.get(subscription.id, -_REPORT_INTERVAL) + _REPORT_INTERVAL:
        return
    _reported[subscription.id] = now
    _log.warning(
        "the condition of %s took %.1f ms in the publisher, its budget is %.1f ms",
        subscription.id,
        seconds * 1e3,
        budget.total_seconds() * 1e3,
    )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class EventStore:
    """The one visible table of an application: who hears what, and how it is delivered.

    It is a pure value: building it opens nothing, and nothing in it can change.

    - `subscriptions`: what `subscribe()` returned, all contexts and overlays in one list
    - `ledger`: where events and deliveries are written; without one the engine is handed the events, and
      what it promises is all that holds
    - `engine`: the job system whose workers handle deliveries; local workers if left out
    - `strict`: for tests and development: a raising condition and a missing transaction reach the publisher
    - `carry`: returns the ambient context (tenant, locale, user) as texts that travel in the envelope; the
      key `subject` becomes the subject of the event, by which it can be erased
    - `around`: takes the envelope and returns a context manager in which the event is handled
    - `condition_budget`: a condition that takes longer is reported
    - `payload_limit`: the largest envelope, payload included, in bytes of JSON
    - `after_commit`: without a ledger: takes what `publish` was given as `on=` and a function, which it calls
      when that transaction has committed; `contrib.django` and `contrib.sqlalchemy` each have one
    - `on_publish_error`: without a ledger: takes the `PublishError` of events whose transaction has
      committed and that the engine did not take; an error in the log if left out
    - `spread`: how far apart batches of 100 groups from one publish start; zero turns it off
    - `retention`: how long deliveries that are done stay on record
    - `wait_for_code`: how long a payload that only newer code may understand waits before it is parked

    Raises `InvalidStore` with everything that is wrong.
    """

    subscriptions: Iterable[Subscription]
    ledger: Ledger = field(default_factory=Handoff)
    engine: Engine | None = None
    strict: bool = False
    carry: Carry | None = None
    around: Around | None = None
    condition_budget: timedelta = timedelta(milliseconds=1)
    payload_limit: int = 64 * 1024
    spread: timedelta = timedelta(seconds=10)
    retention: timedelta = timedelta(days=1)
    wait_for_code: timedelta = timedelta(hours=1)
    after_commit: AfterCommit | None = None
    on_publish_error: OnPublishError | None = None
    routes: Routes = field(init=False, repr=False)
    _plans: Mapping[type[BaseEvent], Plan] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        listed = tuple(self.subscriptions)
        routes, faults = build_routes(listed)
        if not self.is_tracked:
            handoff = Handoff(self.engine, self.after_commit, self.on_publish_error, routes)
            object.__setattr__(self, "ledger", handoff)
            faults += handoff.faults()
        for subscription in routes:
            faults += self.ledger.faults_of(subscription)
            faults += self.engine.faults_of(subscription) if self.engine else ()
        faults += _option_faults(self)
        if faults:
            raise InvalidStore(faults)
        object.__setattr__(self, "subscriptions", listed)
        object.__setattr__(self, "routes", routes)
        unconditional = {
            event: Plan(group)
            for event, group in routes.by_event.items()
            if all(each.condition is None for each in group)
        }
        object.__setattr__(self, "_plans", unconditional)

    @property
    def is_tracked(self) -> bool:
        """Tell whether there is a ledger; without one events are handed to the engine."""
        return not isinstance(self.ledger, Handoff)

    @property
    def waits_for_commit(self) -> bool:
        """Tell whether events of a transaction that is rolled back are never delivered."""
        is_transactional = self.engine is not None and self.engine.features.transactional
        return self.is_tracked or is_transactional or self.after_commit is not None

    def plan(self, event: BaseEvent) -> Plan:
        """Ask the conditions and return who gets an event. Nothing is written.

        Raises `ConditionFailed` when a condition raises and the store is strict.
        """
        ready = self._plans.get(type(event))
        return ready if ready is not None else self._ask(event)

    def _ask(self, event: BaseEvent) -> Plan:
        group = self.routes.by_event.get(type(event))
        if group is None:
            _refuse_stranger(self.routes, event)
            return _NOBODY
        chosen: list[Subscription] = []
        skipped: list[Subscription] = []
        rechecked: list[Subscription] = []
        for subscription in group:
            verdict = subscription.condition is None or self._verdict(subscription, event)
            (skipped if verdict is False else chosen).append(subscription)
            if verdict is None:
                rechecked.append(subscription)
        return Plan(tuple(chosen), tuple(skipped), tuple(rechecked))

    def _verdict(self, subscription: Subscription, event: BaseEvent) -> bool | None:
        """Ask one condition; None means that it raised."""
        started = time.perf_counter()
        try:
            verdict = bool(subscription.condition(event))  # type: ignore[misc]
        except Exception as error:
            reason = describe_failure(error, payload_of(event))
            if self.strict:
                raise ConditionFailed(
                    f"the condition of {subscription.id} raised {reason}",
                    where=location(subscription),
                ) from error
            _log.error("the condition of %s raised %s; the worker asks it again", subscription.id, reason)
            return None
        spent = time.perf_counter() - started
        if spent > self.condition_budget.total_seconds():
            _report_slow(subscription, spent, self.condition_budget)
        return verdict

    def records(self, events: Sequence[BaseEvent]) -> list[Record]:
        """Plan events, put them into envelopes and form their groups. Nothing is written.

        Raises `InvalidEvent`, `ConditionFailed`.
        """
        for event in events:
            _refuse_non_event(event)
        plans = [self.plan(event) for event in events]
        extensions = dict(_carried(self.carry)) if self.carry else {}
        subject = extensions.pop("subject", None)
        envelopes = [seal(event, extensions, subject) for event in events]
        texts = [self._encoded(event, envelope) for event, envelope in zip(events, envelopes, strict=True)]
        groups = _groups(plans, self.spread) if len(events) > 1 else {}
        return [
            Record(
                event,
                envelope,
                text,
                _deliveries(position, envelope, plan, groups),
                tuple(each.id for each in plan.skipped),
            )
            for position, (event, envelope, text, plan) in enumerate(
                zip(events, envelopes, texts, plans, strict=True)
            )
        ]

    def _encoded(self, event: BaseEvent, envelope: Envelope) -> bytes:
        text = envelope.to_json()
        if len(text) > self.payload_limit:
            raise InvalidEvent(
                envelope.type,
                [
                    Fault(
                        "",
                        f"is {len(text):,} bytes in its envelope, the limit is {self.payload_limit:,}",
                    )
                ],
                where=location_of(type(event)),
                fix="publish an id and let subscribers fetch the rest, or raise payload_limit= of the store",
            )
        return text

    def install(self) -> None:
        """Make this the store of the process, which `publish` uses, and its subscribers jobs of the engine.

        Raises `StoreConflict` when another one is installed.
        """
        if _installed.store not in (None, self):
            raise StoreConflict(
                "another store is installed in this process",
                fix="build one store with all subscriptions, and install it once at start-up",
            )
        if self.engine is not None and _installed.store is None:
            self.engine.register(self)
        _installed.store = self


class _Installed:
    """Holds the store of this process."""

    store: EventStore | None = None


_installed = _Installed()


def installed() -> EventStore | None:
    """Return the store of this process."""
    return _installed.store


def swap(store: EventStore | None) -> EventStore | None:
    """Install a store whatever was there before, and return that. For tests."""
    previous, _installed.store = _installed.store, store
    return previous


def _refuse_non_event(event: object) -> None:
    if not isinstance(event, BaseEvent):
        raise InvalidEvent(
            type(event).__name__,
            [Fault("", "is not an event")],
            fix="publish an instance of a class derived from Event",
        )


def _refuse_stranger(routes: Routes, event: BaseEvent) -> None:
    """Refuse an event nobody subscribed to that bears the name of one that somebody did."""
    name = contract_of(type(event)).name
    other = routes.by_name.get(name)
    if other is not None:
        raise InvalidContract(
            f"two events share the name {name}",
            where=f"{location_of(other)} and {location_of(type(event))}",
            fix="give one of them another name=",
        )


def _carried(carry: Carry) -> Mapping[str, str]:
    extensions = carry()
    for name, value in extensions.items():
        if expected := _extension_fault(name, value):
            raise InvalidEvent(
                "carry",
                [Fault(str(name), expected)],
                fix="CloudEvents names its extensions like that: tenantid, locale",
            )
    return extensions


def _extension_fault(name: object, value: object) -> str:
    if not isinstance(name, str) or not _EXTENSION.fullmatch(name):
        return "must have a name of 1 to 20 lower-case letters and digits"
    if name in ATTRIBUTES - {"subject"}:
        return "is an attribute of every envelope; carry it under another name"
    if not isinstance(value, str):
        return f"must be a text, not {type(value).__name__}"
    return "".join(fault.expected for fault in strict_faults(value, name))


def _option_faults(store: EventStore) -> Iterable[WhereuponError]:
    for name in ("condition_budget", "spread", "retention", "wait_for_code"):
        value: Any = getattr(store, name)
        if not isinstance(value, timedelta) or value < timedelta(0):
            yield InvalidSubscriber(f"{name}= of the store takes a timedelta of zero or more, not {value!r}")
    if type(store.payload_limit) is not int or not 1 <= store.payload_limit <= TEXT_LIMIT:
        yield InvalidSubscriber(
            f"payload_limit= of the store takes bytes from 1 to {TEXT_LIMIT:,}, not {store.payload_limit!r}"
        )
    for name in ("carry", "around", "after_commit", "on_publish_error"):
        value = getattr(store, name)
        if value is not None and not callable(value):
            yield InvalidSubscriber(f"{name}= of the store takes a function, not {value!r}")
        elif value is not None and store.is_tracked and name in {"after_commit", "on_publish_error"}:
            yield InvalidSubscriber(f"{name}= of the store does nothing with a ledger= beside it")


def _deliveries(
    position: int,
    envelope: Envelope,
    plan: Plan,
    groups: Mapping[tuple[int, str], tuple[str, timedelta]],
) -> tuple[NewDelivery, ...]:
    made: list[NewDelivery] = []
    for subscription in plan.subscriptions:
        group, later = groups.get((position, subscription.id), (None, timedelta(0)))
        recheck = subscription in plan.rechecked
        made.append(
            NewDelivery(envelope.id, subscription.id, subscription.delay + later, group, recheck=recheck)
        )
    return tuple(made)


def _groups(plans: Sequence[Plan], spread: timedelta) -> dict[tuple[int, str], tuple[str, timedelta]]:
    """Cut the events of one publish into groups, for each subscription that wants them.

    Batch i of `SPREAD_GROUPS` groups starts i × `spread` later: the rule of the reference, without its
    extra second.
    """
    sizes: dict[str, int] = {}
    positions: dict[str, list[int]] = {}
    for position, plan in enumerate(plans):
        for subscription in plan.subscriptions:
            if subscription.group_size > 1:
                sizes[subscription.id] = subscription.group_size
                positions.setdefault(subscription.id, []).append(position)
    groups: dict[tuple[int, str], tuple[str, timedelta]] = {}
    for identity, members in positions.items():
        for rank, start in enumerate(range(0, len(members), sizes[identity])):
            group = (uuid4().hex, rank // SPREAD_GROUPS * spread)
            for position in members[start : start + sizes[identity]]:
                groups[position, identity] = group
    return groups
