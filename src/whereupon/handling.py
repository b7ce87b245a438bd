"""The worker's side: delivery → envelope → event → subscriber → close."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from whereupon.deliveries import Claim, Close, Done, Parked, Released, Result, Retry, Waiting
from whereupon.envelopes import Envelope, InvalidEnvelope, handled
from whereupon.errors import InvalidEvent, LostClaim, WhereuponError
from whereupon.events import BaseEvent, contract_of, rebuild
from whereupon.failures import describe_failure
from whereupon.outcomes import IGNORED, Failed, Park, RetryIn
from whereupon.publishing import joined

if TYPE_CHECKING:
    from whereupon.contracts import Contract
    from whereupon.ledger_protocol import AsyncLedger, Atomic, OpenTransaction
    from whereupon.store import EventStore
    from whereupon.subscribers import Subscriber
    from whereupon.subscriptions import Subscription

WAIT_STEP: Final = timedelta(seconds=15)
"""How often a payload that waits for newer code is looked at again."""
attempts_allowed: Final[ContextVar[int | None]] = ContextVar("whereupon_attempts_allowed", default=None)
"""How many attempts a delivery has in place of `max_attempts=`, where the call itself has come to say so."""

_HANDLED: Final = Done("handled")
_IGNORED: Final = Done("ignored")
_NOTHING: Final = contextlib.nullcontext()

_log = logging.getLogger("whereupon.worker")


class Prepared(NamedTuple):
    """A claim whose event has been rebuilt and whose condition, if it must be asked again, holds."""

    claim: Claim
    subscription: Subscription
    envelope: Envelope
    event: BaseEvent


class Call:
    """One call of a subscriber: for one event, or for all events of a group that it takes as a list.

    `time_limit` is the subscriber's own, or what the ledger allows an atomic one that names none.
    """

    __slots__ = ("prepared", "subscription", "time_limit")

    def __init__(
        self, subscription: Subscription, prepared: tuple[Prepared, ...], time_limit: timedelta | None
    ) -> None:
        self.subscription = subscription
        self.prepared = prepared
        self.time_limit = time_limit

    @property
    def first(self) -> Prepared:
        """The only event, or the first of a list."""
        return self.prepared[0]

    def arguments(self, atomic: OpenTransaction | None) -> list[Any]:
        """Return what the function is called with: the event or the list, then what it asks for."""
        events = [each.event for each in self.prepared]
        head = events if self.subscription.subscriber.takes_list else events[0]
        takes = self.subscription.subscriber.takes
        rest = [
            self.first.envelope if each is Envelope else atomic.argument(each) if atomic else None
            for each in takes
        ]
        return [head, *rest]


def prepare(
    store: EventStore, claims: Sequence[Claim], subscription: Subscription | None = None
) -> tuple[list[Call], list[Close]]:
    """Turn the claims of one job into calls, and into closes where there is nothing to call.

    The subscription is found by the id that the claims bear, unless it is given.
    """
    ready: list[Prepared] = []
    closes: list[Close] = []
    for claim in claims:
        known = subscription or store.routes.by_id.get(claim.subscription)
        found = _prepared(store, claim, known) if known else Released()
        if isinstance(found, Prepared):
            ready.append(found)
        else:
            closes.append(Close(claim, found))
            _report(claim, found)
    if ready and ready[0].subscription.subscriber.takes_list:
        return [_call(store, tuple(ready))], closes
    return [_call(store, (each,)) for each in ready], closes


def _call(store: EventStore, prepared: tuple[Prepared, ...]) -> Call:
    subscription = prepared[0].subscription
    return Call(subscription, prepared, time_limit_of(store, subscription.subscriber))


def time_limit_of(store: EventStore, subscriber: Subscriber) -> timedelta | None:
    """Return how long a call may take: what the subscriber says, or what the ledger allows an atomic one."""
    options = subscriber.options
    return options.timeout or (store.ledger.atomic_timeout if options.atomic else None)


def _prepared(store: EventStore, claim: Claim, subscription: Subscription) -> Prepared | Result:
    try:
        envelope = Envelope.from_json(claim.envelope)
    except InvalidEnvelope as error:
        return Parked("refused", f"the envelope cannot be read: {error}", spends=False)
    event = _rebuilt(store, claim, subscription, envelope)
    if not isinstance(event, BaseEvent):
        return event
    if claim.recheck and subscription.condition is not None:
        try:
            if not subscription.condition(event):
                return Done("skipped")
        except Exception as failure:  # noqa: BLE001 - the application's own condition
            return _failed(subscription, claim, failure, envelope.data)
    return Prepared(claim, subscription, envelope, event)


def _rebuilt(
    store: EventStore, claim: Claim, subscription: Subscription, envelope: Envelope
) -> BaseEvent | Result:
    """Make the event again; a payload that the contract refuses is parked, or waits for newer code."""
    contract = contract_of(subscription.event)
    is_own = envelope.fingerprint == contract.fingerprint
    try:
        payload = envelope.data if is_own else _upcast(contract, envelope.data)
    except Exception as failure:  # noqa: BLE001 - the application's own function
        reason = describe_failure(failure, envelope.data)
        return Parked("refused", f"the upcast of {contract.name} failed: {reason}", spends=False)
    try:
        return rebuild(contract, dict(payload))
    except InvalidEvent as refusal:
        faults = "; ".join(map(str, refusal.faults))
    error = f"the contract of {contract.name} refuses the payload: {faults}"
    waited = claim.refused_for or timedelta(0)
    if is_own:
        return Parked("refused", error, spends=False)
    if waited >= store.wait_for_code:
        return Parked("refused", f"{error}; no code that accepts it came in {waited}", spends=False)
    return Waiting(min(WAIT_STEP, store.wait_for_code / 4), f"{error}; it waits for newer code")


def _upcast(contract: Contract, data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Turn the payload of another contract into today's shape, where the event knows how to."""
    if contract.upcast is None:
        return data
    payload = contract.upcast(dict(data))
    if not isinstance(payload, Mapping):
        raise TypeError(f"it returned {type(payload).__name__} instead of a mapping")
    return payload


def called(store: EventStore, call: Call, atomic: OpenTransaction | None = None) -> object:
    """Call a subscriber as a worker does, and return what it returned; its exceptions pass through.

    `atomic` is the transaction of an atomic subscriber; what is published meanwhile joins it.
    """
    envelope, arguments = call.first.envelope, call.arguments(atomic)
    tokens = handled.set(envelope), joined.set(atomic.connection if atomic else None)
    try:
        with store.ledger.scope(), store.around(envelope) if store.around else _NOTHING:
            return call.subscription.subscriber.function(*arguments)
    finally:
        handled.reset(tokens[0])
        joined.reset(tokens[1])


async def acalled(store: EventStore, call: Call, atomic: OpenTransaction | None = None) -> object:
    """Await a subscriber that is a coroutine function as a worker does, and return what it returned."""
    function: Callable[..., Awaitable[object]] = call.subscription.subscriber.function
    envelope, arguments = call.first.envelope, call.arguments(atomic)
    tokens = handled.set(envelope), joined.set(atomic.connection if atomic else None)
    try:
        with store.ledger.scope(), store.around(envelope) if store.around else _NOTHING:
            return await function(*arguments)
    finally:
        handled.reset(tokens[0])
        joined.reset(tokens[1])


def handle(store: EventStore, call: Call, watch: Callable[[Atomic], None] | None = None) -> list[Close]:
    """Call a subscriber and return how its claims end.

    The closes of an atomic subscriber that succeeded are written already and are not returned. `watch` is
    given the transaction of an atomic one, so that it can be expired.
    """
    try:
        if call.subscription.subscriber.options.atomic:
            return _handle_atomically(store, call, watch)
        returned = called(store, call)
    except LostClaim as error:
        _log.warning("%s: %s", call.subscription.id, error)
        return []
    except BaseException as failure:  # noqa: BLE001 - a subscriber may raise anything, sys.exit() too
        return _failures(call, failure)
    return _successes(call, returned)


def _handle_atomically(store: EventStore, call: Call, watch: Callable[[Atomic], None] | None) -> list[Close]:
    atomic = store.ledger.atomic()
    try:
        atomic.__enter__()
    except WhereuponError as error:
        _log.error("%s could not begin: %s", call.subscription.id, error)
        return [Close(each.claim, Released()) for each in call.prepared]
    with contextlib.ExitStack() as stack:
        stack.push(atomic.__exit__)
        if watch:
            watch(atomic)
        returned = called(store, call, atomic)
        atomic.finish(_successes(call, returned))
    return []


async def ahandle(store: EventStore, call: Call, limit: asyncio.Timeout) -> list[Close]:
    """Await a subscriber that is a coroutine function, within a limit, and return how its claims end.

    Raises CancelledError only when the task that runs it is cancelled.
    """
    try:
        async with limit:
            if call.subscription.subscriber.options.atomic:
                return await _ahandle_atomically(store, call, limit)
            returned = await acalled(store, call)
    except LostClaim as error:
        _log.warning("%s: %s", call.subscription.id, error)
        return []
    except TimeoutError as error:
        return _failures(call, TimeoutError(overrun_text(call)) if limit.expired() else error)
    except BaseException as failure:  # a subscriber may raise anything, CancelledError too
        if _is_cancellation(failure):
            raise
        return _failures(call, failure)
    return _successes(call, returned)


async def _ahandle_atomically(store: EventStore, call: Call, limit: asyncio.Timeout) -> list[Close]:
    atomic = cast("AsyncLedger", store.ledger).aatomic()
    ends, now = limit.when(), asyncio.get_running_loop().time
    started = now()
    try:
        limit.reschedule(None)  # the time limit does not count the wait for a lock or a free connection
        await atomic.__aenter__()
    except WhereuponError as error:
        _log.error("%s could not begin: %s", call.subscription.id, error)
        return [Close(each.claim, Released()) for each in call.prepared]
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_exit(atomic.__aexit__)
        limit.reschedule(None if ends is None else ends + now() - started)
        returned = await acalled(store, call, atomic)
        await atomic.finish(_successes(call, returned))
    return []


def _is_cancellation(error: BaseException) -> bool:
    """Tell a task that is being cancelled from a subscriber that raises CancelledError by itself."""
    if not isinstance(error, asyncio.CancelledError):
        return False
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _successes(call: Call, returned: object) -> list[Close]:
    result = _IGNORED if returned is IGNORED else _HANDLED
    return [Close(each.claim, result) for each in call.prepared]


def _failures(call: Call, error: BaseException) -> list[Close]:
    """Return how the claims of a call end that raised; `Failed` from a list tells its events apart."""
    subscription = call.subscription
    partly = isinstance(error, Failed) and subscription.subscriber.takes_list
    errors = error.errors if isinstance(error, Failed) and partly else {}
    rest: Result = Released() if subscription.subscriber.options.atomic else _HANDLED
    closes: list[Close] = []
    for each in call.prepared:
        own = errors.get(each.event) if partly else error
        result = rest if own is None else _failed(subscription, each.claim, own, each.envelope.data)
        closes.append(Close(each.claim, result))
        _report(each.claim, result)
    return closes


def _failed(
    subscription: Subscription, claim: Claim, error: BaseException, payload: Mapping[str, Any]
) -> Result:
    options = subscription.subscriber.options
    if isinstance(error, (Park, *options.park_on)):
        return Parked("subscriber", describe_failure(error, payload))
    attempt = claim.attempts + 1
    cause = error.__cause__ if isinstance(error, RetryIn) else None
    reason = describe_failure(cause or error, payload)
    if attempt >= (attempts_allowed.get() or options.max_attempts):
        return Parked("attempts", reason)
    return Retry(error.delay if isinstance(error, RetryIn) else _backoff(subscription, attempt), reason)


def _backoff(subscription: Subscription, attempt: int) -> timedelta:
    """Ask the subscriber's own backoff; whatever is wrong with it must not lose the delivery."""
    try:
        delay = subscription.subscriber.options.backoff(attempt)
        return max(delay, timedelta(0))
    except Exception as error:  # noqa: BLE001 - somebody else's function
        _log.error("backoff of %s failed, using one minute: %s", subscription.id, describe_failure(error))
        return timedelta(minutes=1)


def overrun(call: Call, claim: Claim) -> Result:
    """Return how a claim ends whose handler ran over its time limit; its attempt is counted already."""
    options = call.subscription.subscriber.options
    attempt = claim.attempts + 1
    if attempt >= options.max_attempts:
        return Parked("attempts", overrun_text(call), spends=False)
    return Retry(_backoff(call.subscription, attempt), overrun_text(call), spends=False)


def overrun_text(call: Call) -> str:
    """Say that a handler ran over its time limit."""
    limit = f"its time limit of {call.time_limit}" if call.time_limit else "the time limit of its job"
    return f"it ran over {limit}"


def _report(claim: Claim, result: Result) -> None:
    name = claim.subscription
    match result:
        case Retry():
            _log.warning(
                "%s failed at attempt %d of event %s, next in %s: %s",
                name, claim.attempts + 1, claim.event_id, result.delay, result.error,
            )  # fmt: skip
        case Parked():
            _log.error("%s parked event %s (%s): %s", name, claim.event_id, result.reason, result.error)
        case Waiting():
            _log.warning("%s waits with event %s: %s", name, claim.event_id, result.error)
        case _:
            pass
