"""What stores, workers and the CLI ask of a ledger, whatever database it lies in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from datetime import timedelta
    from types import TracebackType

    from whereupon.deliveries import Close, NewDelivery
    from whereupon.envelopes import Envelope
    from whereupon.errors import WhereuponError
    from whereupon.events import BaseEvent
    from whereupon.ledger.dialect import Dialect
    from whereupon.subscriptions import Subscription

Row = tuple[Any, ...]
Parameters = Mapping[str, Any] | Sequence[Any]
Fate = Literal["committed", "pending", "rolled back"]
"""What became of an event that was published in somebody's transaction."""
Finding = tuple[Literal["ok", "warning", "error"], str]


class Record(NamedTuple):
    """What one published event leaves in the ledger: its envelope and its deliveries.

    `event` is what was published. `text` is the envelope as JSON, encoded once for all of its deliveries.
    `skipped` are the ids of the subscriptions whose condition refused it.
    """

    event: BaseEvent
    envelope: Envelope
    text: bytes
    deliveries: tuple[NewDelivery, ...]
    skipped: tuple[str, ...] = ()


class Transaction(Protocol):
    """An open transaction on the ledger's database. The SQL is that of `whereupon.ledger.dialect`."""

    @property
    def dialect(self) -> Dialect:
        """How the connection wants its SQL."""
        ...

    def now(self) -> int:
        """Return the database's clock in milliseconds since 1970, UTC."""
        ...

    def rows(self, sql: str, parameters: Parameters = ...) -> list[Row]:
        """Run a statement and return all rows of its result."""
        ...

    def run(self, sql: str, parameters: Parameters = ...) -> int:
        """Run a statement and return how many rows it changed."""
        ...


class Connection(Protocol):
    """A connection of a worker's own. Not for two threads at once, and not for use behind a fork."""

    def transaction(self) -> AbstractContextManager[Transaction]:
        """Open a transaction that writes; commits at the end, rolls back on an exception."""
        ...

    def single(self) -> AbstractContextManager[Transaction]:
        """Run a statement that is a transaction of its own, or several in one where that costs nothing.

        Whoever runs several must not count on their being one.
        """
        ...

    def reading(self) -> AbstractContextManager[Transaction]:
        """Open a transaction that only reads."""
        ...

    def changed(self) -> bool:
        """Tell whether another connection may have committed since the last call. Cheap."""
        ...

    def wait(self, seconds: float) -> None:
        """Wait for so many seconds, or until the database tells of a commit, where it does."""
        ...

    def close(self) -> None:
        """Close the connection; an open transaction is rolled back."""
        ...


class OpenTransaction(Protocol):
    """The transaction that an atomic subscriber runs in: what its events join, and what it gets of it."""

    connection: Any
    """What an event joins that is published meanwhile."""

    def argument(self, kind: type) -> object:
        """Return what fills a parameter of the subscriber that is annotated with a transaction type."""
        ...


class Lent(OpenTransaction, Protocol):
    """The open transaction of a test, in which an atomic subscriber runs instead of one of its own."""

    async def run(self, function: Callable[[], Any]) -> Any:
        """Call a subscriber that is a plain function from a coroutine."""
        ...


class Atomic(OpenTransaction, Protocol):
    """The transaction in which an atomic subscriber runs and its delivery is closed."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...

    def finish(self, closes: Sequence[Close]) -> None:
        """Close deliveries inside the transaction; raises `LostClaim` when one is not held any more."""
        ...

    def expire(self) -> None:
        """Roll back now, whoever is still running in it. May be called from another thread."""
        ...


class AsyncAtomic(OpenTransaction, Protocol):
    """The transaction in which an atomic subscriber runs that is a coroutine function."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...

    async def finish(self, closes: Sequence[Close]) -> None:
        """Close deliveries inside the transaction; raises `LostClaim` when one is not held any more."""
        ...


class Ledger(Protocol):
    """The durable record of deliveries."""

    @property
    def dialect(self) -> Dialect:
        """Which SQL the ledger's own connections speak."""
        ...

    @property
    def takes_turns(self) -> bool:
        """Tell whether atomic subscribers run one at a time, as each holds the lock of the whole database."""
        ...

    @property
    def atomic_timeout(self) -> timedelta | None:
        """The time limit of an atomic subscriber that names none."""
        ...

    def write(self, records: Sequence[Record], on: object | None, *, strict: bool = True) -> None:
        """Write records in the transaction of `on`, or as the ledger says where that is None.

        A ledger that would rather write in a transaction of its own than lose an event does so only if not
        `strict`.
        """
        ...

    async def awrite(self, records: Sequence[Record], on: object | None, *, strict: bool = True) -> None:
        """Write records without blocking the event loop."""
        ...

    def refuse_to_join(self, on: object | None) -> None:
        """Raise where an event published on `on` could not commit with anything."""
        ...

    def watch(self, on: object | None, event_id: str) -> Callable[[], Fate]:
        """Note that an event is published on `on`, and return what tells its fate. For tests."""
        ...

    def atomic(self) -> Atomic:
        """Return the transaction for one call of an atomic subscriber, to be entered."""
        ...

    def lend(self, on: object | None, fate: Fate) -> Lent | None:
        """Return the transaction that a test has open on `on`, for an atomic subscriber to run in.

        `fate` is that of the event; None where the subscriber had better have a transaction of its own.
        """
        ...

    def scope(self) -> AbstractContextManager[object]:
        """Return what surrounds each call of a subscriber in a worker."""
        ...

    def faults_of(self, subscription: Subscription) -> Iterable[WhereuponError]:
        """Yield what this ledger cannot honour of a subscription."""
        ...

    def transaction(self) -> AbstractContextManager[Transaction]:
        """Open a transaction that writes, on a connection of the ledger's own."""
        ...

    def reading(self) -> AbstractContextManager[Transaction]:
        """Open a transaction that only reads, on a connection of the ledger's own."""
        ...

    def connect(self, patience: timedelta | None = None) -> Connection:
        """Open a connection of one's own to a ledger that is there and of this version.

        `patience` is how long it waits for a lock, if not as long as the ledger's own connections.
        """
        ...

    def migrate(self) -> tuple[int, int]:
        """Make the tables, or bring them up to date; return the versions before and after."""
        ...

    def findings(self) -> Iterator[Finding]:
        """Yield what `whereupon doctor` says about the database."""
        ...

    def describe(self) -> str:
        """Say which database this is, without passwords."""
        ...


class AsyncLedger(Ledger, Protocol):
    """A ledger on which atomic subscribers may be coroutine functions."""

    def aatomic(self) -> AsyncAtomic:
        """Return the transaction for one call, to be entered."""
        ...
