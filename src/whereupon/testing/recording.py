"""Recording what is published, instead of writing and delivering it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast, overload

from whereupon.envelopes import Envelope
from whereupon.events import BaseEvent, contract_of, rebuild
from whereupon.ledger.lending import LentConnection
from whereupon.store import EventStore, installed, swap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from whereupon.deliveries import NewDelivery
    from whereupon.errors import WhereuponError
    from whereupon.ledger_protocol import AsyncAtomic, AsyncLedger, Atomic, Fate, Ledger, Lent, Record
    from whereupon.subscriptions import Subscription


@dataclass(frozen=True, slots=True, eq=False)
class Recorded:
    """One event that was published while a recorder was on; `on` is the connection it joined."""

    event: BaseEvent
    envelope: Envelope
    deliveries: tuple[NewDelivery, ...]
    on: object | None
    fate: Callable[[], Fate]


class Recorder:
    """A ledger that keeps what is published in memory, after a round trip through the JSON of the wire.

    It refuses what the application's own ledger would refuse: a publish that no transaction covers.
    """

    def __init__(self, ledger: Ledger | None) -> None:
        self._ledger = ledger
        self._all: list[Recorded] = []
        self.delivered: set[tuple[str, str]] = set()

    @property
    def recorded(self) -> list[Recorded]:
        """What was published and not rolled back since."""
        return [each for each in self._all if each.fate() != "rolled back"]

    def write(self, records: Sequence[Record], on: object | None, *, strict: bool = True) -> None:
        """Keep records; they vanish from `recorded` when the transaction of `on` is rolled back."""
        del strict  # tests always are
        if self._ledger is not None:
            self._ledger.refuse_to_join(on)
        for record in records:
            fate = self._ledger.watch(on, record.envelope.id) if self._ledger else _committed
            envelope = Envelope.from_json(record.text)
            self._all.append(Recorded(_event(record.event, envelope), envelope, record.deliveries, on, fate))

    async def awrite(self, records: Sequence[Record], on: object | None, *, strict: bool = True) -> None:
        """Keep records, from a coroutine."""
        self.write(records, on, strict=strict)

    def atomic(self) -> Atomic:
        """Open the transaction of an atomic subscriber on the application's ledger."""
        if self._ledger is None:
            raise RuntimeError("no store is installed, so there is no ledger for an atomic subscriber")
        return self._ledger.atomic()

    def aatomic(self) -> AsyncAtomic:
        """Open the transaction of an atomic subscriber that is a coroutine function."""
        if self._ledger is None:
            raise RuntimeError("no store is installed, so there is no ledger for an atomic subscriber")
        return cast("AsyncLedger", self._ledger).aatomic()

    def lend(self, on: object | None, fate: Fate = "pending") -> Lent | None:
        """Return the open transaction of a test for an atomic subscriber, if there is one."""
        if on is None:
            return None
        return self._ledger.lend(on, fate) if self._ledger is not None else LentConnection(on)

    def scope(self) -> contextlib.AbstractContextManager[object]:
        """Return what surrounds each call of a subscriber in a worker of the application's ledger."""
        return self._ledger.scope() if self._ledger is not None else contextlib.nullcontext()

    def faults_of(self, subscription: Subscription) -> Iterable[WhereuponError]:
        """Find no fault: the store that is recorded has been checked."""
        del subscription
        return ()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)


def _committed() -> Fate:
    return "committed"


def _event(event: BaseEvent, envelope: Envelope) -> BaseEvent:
    """Make the event again from the wire, as a worker would."""
    return rebuild(contract_of(type(event)), dict(envelope.data))


class Published(Sequence[BaseEvent]):
    """The events that were published, in order. Compares with a list of events or of `expected(...)`."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, recorder: Recorder, start: int = 0) -> None:
        self._recorder = recorder
        self._start = start

    def _recorded(self) -> list[Recorded]:
        return self._recorder.recorded[self._start :]

    @property
    def envelopes(self) -> list[Envelope]:
        """The envelopes of the events."""
        return [each.envelope for each in self._recorded()]

    @property
    def waiting(self) -> int:
        """How many of the events wait for their transaction to be committed."""
        return sum(1 for each in self._recorded() if each.fate() == "pending")

    def __len__(self) -> int:
        return len(self._recorded())

    @overload
    def __getitem__(self, index: int) -> BaseEvent: ...

    @overload
    def __getitem__(self, index: slice) -> list[BaseEvent]: ...

    def __getitem__(self, index: int | slice) -> BaseEvent | list[BaseEvent]:
        return [each.event for each in self._recorded()][index]

    def __iter__(self) -> Iterator[BaseEvent]:
        return iter([each.event for each in self._recorded()])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(
            wanted == event for wanted, event in zip(other, self, strict=True)
        )

    def __repr__(self) -> str:
        note = f", {self.waiting} of them waiting for a commit" if self.waiting else ""
        return f"<published {list(self)!r}{note}>"


def current_recorder() -> Recorder | None:
    """Return the recorder that is on, if any."""
    store = installed()
    return store.ledger if store is not None and isinstance(store.ledger, Recorder) else None


@contextlib.contextmanager
def published() -> Iterator[Published]:
    """Record what is published in the block; nothing is written to a ledger, and nothing delivered."""
    with recording() as recorder:
        yield Published(recorder, len(recorder.recorded))


@contextlib.contextmanager
def recording() -> Iterator[Recorder]:
    """Put a recorder in the place of the store's ledger, unless one is on already."""
    running = current_recorder()
    if running is not None:
        yield running
        return
    store = installed()
    recorder = Recorder(store.ledger if store else None)
    ledger = cast("Ledger", recorder)  # what it does not do itself, it asks of the ledger behind it
    recorded = (
        replace(store, ledger=ledger, strict=True, after_commit=None, on_publish_error=None)
        if store
        else EventStore(subscriptions=[], ledger=ledger, strict=True)
    )
    with using_store(recorded):
        yield recorder


@contextlib.contextmanager
def using_store(store: EventStore) -> Iterator[EventStore]:
    """Install another store for the block, process-wide, and put back what was there."""
    previous = swap(store)
    try:
        yield store
    finally:
        swap(previous)
