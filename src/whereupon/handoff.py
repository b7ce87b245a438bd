"""Handoff: a store without a ledger hands its events to the engine when they are committed.

What stands here takes the place of the ledger: it writes by handing over, and keeps no record.
"""

from __future__ import annotations

import contextlib
import logging
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn, cast

from whereupon.engine_protocol import HandoffEngine, Message
from whereupon.envelopes import Envelope
from whereupon.errors import (
    EngineUnavailable,
    InvalidConfiguration,
    InvalidSubscriber,
    NoLedger,
    NoTransaction,
    PublishError,
    WhereuponError,
    WrongConnection,
)
from whereupon.subscriptions import location

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager
    from datetime import timedelta

    from whereupon.engine_protocol import Engine
    from whereupon.ledger.dialect import Dialect
    from whereupon.ledger_protocol import Atomic, Connection, Fate, Finding, Lent, Record, Transaction
    from whereupon.routing import Routes
    from whereupon.subscriptions import Subscription

Dispatch = Callable[[], None]
AfterCommit = Callable[[object | None, Dispatch], None]
"""Calls a function when the transaction of its first argument has committed, never when that or a savepoint
in it is rolled back, and at once where there is none."""
OnPublishError = Callable[[PublishError], object]

_log = logging.getLogger("whereupon.publish")


class Handoff:
    """Fulfils what a store asks of a ledger, but for its rows: there are none."""

    def __init__(
        self,
        engine: Engine | None = None,
        after_commit: AfterCommit | None = None,
        on_publish_error: OnPublishError | None = None,
        routes: Routes | None = None,
    ) -> None:
        self._engine = cast("HandoffEngine", engine)
        self._after_commit = after_commit
        self._on_publish_error = on_publish_error
        self._routes = routes
        self._is_transactional = engine is not None and engine.features.transactional

    def faults(self) -> Iterator[WhereuponError]:
        """Yield what keeps the engine from delivering without a ledger, and options that would do nothing."""
        if self._engine is None:
            yield InvalidConfiguration(
                "the store has neither a ledger nor an engine, so nothing could be delivered",
                fix="give it a ledger=, or an engine= that delivers without one",
            )
        elif not self._engine.features.handoff:
            yield InvalidConfiguration(
                f"the engine {self._engine.kind} delivers nothing without a ledger",
                fix="give the store a ledger=",
            )
        else:
            yield from self._engine.handoff_faults(tuple(self._routes or ()))
            yield from self._option_faults()

    def _option_faults(self) -> Iterator[WhereuponError]:
        if self._after_commit is not None and self._is_transactional:
            yield InvalidConfiguration(
                f"after_commit= of the store does nothing: {self._engine.kind} joins the transaction itself",
                fix="leave it out",
            )
        if self._on_publish_error is not None and self._after_commit is None:
            yield InvalidConfiguration(
                "on_publish_error= of the store does nothing without after_commit=: publish raises then",
                fix="leave it out, or add after_commit=",
            )

    def faults_of(self, subscription: Subscription) -> Iterator[WhereuponError]:
        """Yield what needs a ledger in a subscription."""
        if subscription.subscriber.options.atomic:
            yield InvalidSubscriber(
                f"{subscription.subscriber.name} is atomic, and the store has no ledger to be atomic with",
                where=location(subscription),
                fix="give the store a ledger=, or leave atomic=True out",
            )

    def write(self, records: Sequence[Record], on: object | None, *, strict: bool = True) -> None:
        """Hand over what was published: when the transaction of `on` commits, or at once if there is none.

        Raises `PublishError` where nothing is waited for, `NoTransaction` if `strict` and the store knows how
        to wait (`after_commit=`), and `WrongConnection`.
        """
        self.refuse_to_join(on)
        messages = self._messages(records)
        if messages and not self._is_postponed(messages, on, strict=strict):
            try:
                self._engine.hand_off(messages, self._joined(on))
            except EngineUnavailable as error:
                raise _refused(messages[error.sent :], error) from error

    async def awrite(self, records: Sequence[Record], on: object | None, *, strict: bool = True) -> None:
        """Hand over without blocking the event loop."""
        self.refuse_to_join(on)
        messages = self._messages(records)
        if messages and not self._is_postponed(messages, on, strict=strict):
            try:
                await self._engine.ahand_off(messages, self._joined(on))
            except EngineUnavailable as error:
                raise _refused(messages[error.sent :], error) from error

    def _joined(self, on: object | None) -> object | None:
        return on if self._is_transactional else None

    def _is_postponed(self, messages: list[Message], on: object | None, *, strict: bool) -> bool:
        """Let messages wait for the commit; tell whether there is one to wait for."""
        if self._after_commit is None:
            return False
        is_waiting = is_at_once = False

        def dispatch() -> None:
            nonlocal is_at_once
            if is_waiting:
                self._hand_over(messages)
            else:
                is_at_once = True

        self._after_commit(on, dispatch)
        is_waiting = True
        if is_at_once and strict:
            raise _without_transaction()
        return not is_at_once

    def _hand_over(self, messages: list[Message]) -> None:
        """Hand over after a commit, which must not look as if it had failed."""
        try:
            self._engine.hand_off(messages, None)
        except EngineUnavailable as error:
            self._tell(_refused(messages[error.sent :], error))
        except Exception as error:  # noqa: BLE001 - the commit has happened, whatever is the matter
            self._tell(_refused(messages, error))

    def _messages(self, records: Sequence[Record]) -> list[Message]:
        """Put deliveries into messages. An event whose condition is asked again leaves its group."""
        routes = cast("Routes", self._routes).by_id
        groups: dict[str, int] = {}
        messages: list[Message] = []
        for record in records:
            text = record.text.decode()
            for each in record.deliveries:
                if each.group is not None and not each.recheck:
                    found = groups.setdefault(each.group, len(messages))
                    if found < len(messages):
                        message = messages[found]
                        messages[found] = message._replace(envelopes=(*message.envelopes, text))
                        continue
                subscriber = routes[each.subscription].subscriber
                messages.append(Message(subscriber, each.subscription, (text,), each.delay, each.recheck))
        return messages

    def _tell(self, error: PublishError) -> None:
        if self._on_publish_error is None:
            _log.error("%s", error)
            return
        try:
            self._on_publish_error(error)
        except Exception:  # noqa: BLE001 - the application's own function, after the commit
            _log.exception("on_publish_error= of the store failed over this: %s", error)

    def refuse_to_join(self, on: object | None) -> None:
        """Raise `WrongConnection` where nobody has said how to wait for a commit."""
        if on is not None and self._after_commit is None and not self._is_transactional:
            raise WrongConnection(
                "a store without a ledger cannot tell by itself when on= commits",
                fix="build it with after_commit=, which contrib.django and contrib.sqlalchemy have",
            )

    def watch(self, on: object | None, event_id: str) -> Callable[[], Fate]:
        """Note an event on `on`, and return what tells its fate. For tests.

        A transaction that is rolled back lets go of what it would have called.
        """
        del event_id
        told: list[Fate] = []
        if self._after_commit is None:
            return lambda: "committed"

        def note() -> None:
            told.append("committed")

        self._after_commit(on, note)
        if told:
            raise _without_transaction()
        is_noted = weakref.ref(note)
        return lambda: told[0] if told else "pending" if is_noted() else "rolled back"

    def lend(self, on: object | None, fate: Fate) -> Lent | None:
        """Lend nothing: there are no atomic subscribers."""
        del on, fate
        return None

    def scope(self) -> AbstractContextManager[object]:
        """Surround a call with nothing: the engine does what its jobs need."""
        return contextlib.nullcontext()

    def findings(self) -> Iterator[Finding]:
        """Yield the promise of the engine, and what endangers it."""
        yield "ok", f"handoff, without a ledger: {self._engine.promise}"
        yield from self._engine.handoff_findings(tuple(self._routes or ()))

    def describe(self) -> str:
        """Say that there is no database."""
        return f"none: events are handed to {self._engine.kind}"

    def atomic(self) -> Atomic:
        """Raise `NoLedger`."""
        _refuse()

    def transaction(self) -> AbstractContextManager[Transaction]:
        """Raise `NoLedger`."""
        _refuse()

    def reading(self) -> AbstractContextManager[Transaction]:
        """Raise `NoLedger`."""
        _refuse()

    def connect(self, patience: timedelta | None = None) -> Connection:
        """Raise `NoLedger`."""
        del patience
        _refuse()

    def migrate(self) -> tuple[int, int]:
        """Raise `NoLedger`."""
        _refuse()

    @property
    def takes_turns(self) -> bool:
        """Tell that nobody waits for anybody."""
        return False

    @property
    def atomic_timeout(self) -> timedelta | None:
        """Give no limit: there are no atomic subscribers."""
        return None

    @property
    def dialect(self) -> Dialect:
        """Raise `NoLedger`."""
        _refuse()


def _refuse() -> NoReturn:
    raise NoLedger(
        "this store hands its events to the engine and keeps no record of them",
        fix="give the store a ledger=, or look into the engine's own monitoring",
    )


def _without_transaction() -> NoTransaction:
    return NoTransaction(
        "there is no transaction that the event could wait for",
        fix="publish inside the transaction of the business rows, and pass its session as on= where the "
        "application has no current one",
    )


def _refused(messages: Sequence[Message], error: Exception) -> PublishError:
    subscriptions = list(dict.fromkeys(each.subscription for each in messages))
    events = dict.fromkeys(Envelope.from_json(text).id for each in messages for text in each.envelopes)
    problem, fix = f"{type(error).__name__}: {error}", ""
    if isinstance(error, WhereuponError):
        problem, fix = error.problem, error.fix
    return PublishError(
        f"not enqueued for {', '.join(subscriptions)}: {problem}",
        subscriptions=subscriptions,
        events=list(events),
        fix=fix,
    )
