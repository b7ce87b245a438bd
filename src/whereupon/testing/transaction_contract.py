"""The conformance kit for joining transactions: one matrix of cases for every kind of connection.

A kind says how the application begins, nests and ends its transactions, and the cases publish in them:

    @pytest.mark.parametrize("case", transaction_contract.CASES, ids=str)
    def test_case(case, kind):
        case.run(kind)

Each case writes business rows beside its events, and passes when both have shared one fate. `run_scope` does
the same for any nesting of transactions, savepoints and rollbacks.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from whereupon.errors import ConditionFailed, NoTransaction, WhereuponError, WrongConnection, WrongLedger
from whereupon.events import Event
from whereupon.store import EventStore
from whereupon.subscribers import subscriber
from whereupon.subscriptions import subscribe
from whereupon.testing.recording import using_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from whereupon.events import BaseEvent
    from whereupon.ledger_protocol import Ledger, Transaction


class Kind(Protocol):
    """One kind of connection. `name` is for the table; the ledger's tables and business rows are there.

    `implicit` says that publish finds the transaction by itself, as with Django, and that without one it
    writes in a transaction of its own, unless the store is strict.
    """

    name: str
    implicit: bool

    @property
    def ledger(self) -> Ledger:
        """The ledger on the application's database."""
        ...

    def transaction(self) -> AbstractContextManager[Any]:
        """Open a transaction of the application: commits at the end, rolls back on an exception.

        It gives what is passed as `on=`.
        """
        ...

    def savepoint(self, on: Any) -> AbstractContextManager[Any]:
        """Open a savepoint within: released at the end, rolled back on an exception."""
        ...

    def autocommit(self) -> AbstractContextManager[Any]:
        """Give what is passed as `on=` where each statement commits by itself."""
        ...

    def elsewhere(self) -> AbstractContextManager[Any]:
        """Open a transaction on another database that holds a ledger of its own."""
        ...

    def write(self, on: Any, number: int) -> None:
        """Write a business row in the transaction."""
        ...

    def reading(self) -> AbstractContextManager[Transaction]:
        """Look at the ledger on another connection."""
        ...

    def written(self) -> list[int]:
        """Read the business rows that are committed, on another connection."""
        ...

    def publish(self, events: Sequence[BaseEvent], on: Any) -> None:
        """Publish events with `publish_many`, or with `apublish_many` where the kind is async."""
        ...


class Happened(Event, name="contract.happened"):
    """Something with a number happened."""

    number: int


@subscriber(name="hear")
def _hear(event: Happened) -> None:
    """Hear of it."""


def _is_small(event: Happened) -> bool:
    return 1 / (event.number - BROKEN) < 2


BROKEN: Final = 13
"""The number at which a condition raises."""


def store_for(kind: Kind, *, strict: bool = True) -> EventStore:
    """Return the store that the cases publish in."""
    subscriptions = [subscribe(_hear, to=Happened, when=_is_small)]
    return EventStore(subscriptions=subscriptions, ledger=kind.ledger, strict=strict)


def published(kind: Kind) -> list[int]:
    """Read the numbers of the events that are committed; each has its one delivery."""
    with kind.reading() as transaction:
        rows = transaction.rows(
            "SELECT envelope, (SELECT count(*) FROM whereupon_delivery WHERE event_id = event.id)"
            " FROM whereupon_event AS event"
        )
    assert all(deliveries == 1 for _, deliveries in rows)  # noqa: S101
    return sorted(json.loads(envelope)["data"]["number"] for envelope, _ in rows)


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the matrix: what the application does, and what becomes of row and event."""

    name: str
    outcome: str
    script: Callable[[Kind], None]
    strict: bool = True

    def run(self, kind: Kind) -> None:
        """Run the case. Raises AssertionError."""
        with using_store(store_for(kind, strict=self.strict)):
            self.script(kind)
        rows, events = sorted(kind.written()), published(kind)
        assert rows == events, f"business rows {rows}, events {events}"  # noqa: S101

    def __str__(self) -> str:
        return self.name.replace(" ", "-")


class Undo(Exception):
    """Rolls a scope back."""


def _both(kind: Kind, on: Any, number: int) -> None:
    kind.write(on, number)
    kind.publish([Happened(number=number)], on)


def _expect(kind: Kind, *numbers: int) -> None:
    found = published(kind)
    assert found == list(numbers), f"published {found}, expected {list(numbers)}"  # noqa: S101


def _commit(kind: Kind) -> None:
    with kind.transaction() as on:
        _both(kind, on, 1)
        _expect(kind)
    _expect(kind, 1)


def _rollback(kind: Kind) -> None:
    with contextlib.suppress(Undo), kind.transaction() as on:
        _both(kind, on, 1)
        raise Undo
    _expect(kind)


def _again(kind: Kind) -> None:
    _rollback(kind)
    _commit(kind)


def _many(kind: Kind) -> None:
    for fate in (Undo, None):
        with contextlib.suppress(Undo), kind.transaction() as on:
            for number in (1, 2, 3):
                kind.write(on, number)
            kind.publish([Happened(number=number) for number in (1, 2, 3)], on)
            if fate:
                raise fate
    _expect(kind, 1, 2, 3)


def _savepoint(kind: Kind) -> None:
    with kind.transaction() as on:
        _both(kind, on, 1)
        with contextlib.suppress(Undo), kind.savepoint(on):
            _both(kind, on, 2)
            raise Undo
        _both(kind, on, 3)
    _expect(kind, 1, 3)


def _released(kind: Kind) -> None:
    with contextlib.suppress(Undo), kind.transaction() as on:
        _both(kind, on, 1)
        with kind.savepoint(on):
            _both(kind, on, 2)
        raise Undo
    _expect(kind)


def _nested(kind: Kind) -> None:
    with kind.transaction() as on:
        _both(kind, on, 1)
        with contextlib.suppress(Undo), kind.savepoint(on):
            _both(kind, on, 2)
            with kind.savepoint(on):
                _both(kind, on, 3)
            raise Undo
        with kind.savepoint(on), contextlib.suppress(Undo), kind.savepoint(on):
            _both(kind, on, 4)
            raise Undo
    _expect(kind, 1)


def _refused_event(kind: Kind) -> None:
    with kind.transaction() as on:
        _both(kind, on, 1)
        with contextlib.suppress(ConditionFailed):
            kind.publish([Happened(number=BROKEN)], on)
        _both(kind, on, 2)
    _expect(kind, 1, 2)


def _autocommit(kind: Kind) -> None:
    with kind.autocommit() as on:
        _raises(NoTransaction, lambda: kind.publish([Happened(number=1)], on))
    _expect(kind)


def _own(kind: Kind) -> None:
    with kind.autocommit() as on:
        kind.write(on, 1)
        if kind.implicit:
            kind.publish([Happened(number=1)], on)
        else:
            _raises(NoTransaction, lambda: kind.publish([Happened(number=1)], on))
    if not kind.implicit:
        with kind.transaction() as on:
            kind.publish([Happened(number=1)], on)
    _expect(kind, 1)


def _nothing_given(kind: Kind) -> None:
    if kind.implicit:
        return _autocommit(kind)
    with kind.transaction() as on:
        kind.write(on, 1)
        _raises(NoTransaction, lambda: kind.publish([Happened(number=1)], None))
        kind.publish([Happened(number=1)], on)
    return _expect(kind, 1)


def _stranger(kind: Kind) -> None:
    with kind.transaction():
        _raises(WrongConnection, lambda: kind.publish([Happened(number=1)], object()))
    _expect(kind)


def _elsewhere(kind: Kind) -> None:
    with contextlib.suppress(Undo), kind.elsewhere() as on:
        _raises(WrongLedger, lambda: kind.publish([Happened(number=1)], on))
        raise Undo
    _expect(kind)


def _raises(error: type[WhereuponError], call: Callable[[], None]) -> None:
    caught: WhereuponError | None = None
    try:
        call()
    except error as raised:
        caught = raised
    assert caught is not None, f"{error.__name__} was not raised"  # noqa: S101
    assert caught.fix, f"{error.__name__} says no fix"  # noqa: S101


CASES: Final = (
    Case("commit", "both are there, and the event was not to be seen before", _commit),
    Case("rollback", "neither is there", _rollback),
    Case("a rollback, then a commit on the same connection", "the second joins again", _again),
    Case("several events at once", "all of them share the fate of their transaction", _many),
    Case("a savepoint is rolled back", "takes its event with it, the others stay", _savepoint),
    Case("a savepoint is released, the transaction rolled back", "neither is there", _released),
    Case("savepoints within savepoints", "each takes what is in it", _nested),
    Case("an event that is refused", "the transaction goes on without it", _refused_event),
    Case("each statement commits by itself, strict", "`NoTransaction`", _autocommit),
    Case("each statement commits by itself, not strict", "own transaction where publish finds the "
         "transaction by itself; elsewhere `NoTransaction`", _own, strict=False),
    Case("no transaction is given", "`NoTransaction`", _nothing_given),
    Case("something that is no connection", "`WrongConnection`", _stranger),
    Case("another database", "`WrongLedger`", _elsewhere),
)  # fmt: skip
"""The matrix."""

Fate = Literal["commit", "rollback"]


@dataclass(frozen=True, slots=True)
class Scope:
    """A transaction or savepoint: events by their number and scopes within, in order, and how it ends."""

    fate: Fate
    steps: tuple[int | Scope, ...] = ()

    def committed(self) -> list[int]:
        """Return the numbers of the events that have to be there in the end."""
        if self.fate == "rollback":
            return []
        return [
            number
            for step in self.steps
            for number in ([step] if isinstance(step, int) else step.committed())
        ]


def run_scope(kind: Kind, scope: Scope) -> None:
    """Run a nesting of transactions and savepoints, the store being installed already."""
    with contextlib.suppress(Undo), kind.transaction() as on:
        _run_steps(kind, on, scope)


def _run_steps(kind: Kind, on: Any, scope: Scope) -> None:
    for step in scope.steps:
        if isinstance(step, int):
            _both(kind, on, step)
            continue
        with contextlib.suppress(Undo), kind.savepoint(on):
            _run_steps(kind, on, step)
    if scope.fate == "rollback":
        raise Undo


@contextlib.contextmanager
def checked(kind: Kind) -> Iterator[None]:
    """Install a store for `run_scope`, and compare business rows with events at the end."""
    with using_store(store_for(kind)):
        yield
    rows, events = sorted(kind.written()), published(kind)
    assert rows == events, f"business rows {rows}, events {events}"  # noqa: S101
