"""Every error of whereupon, in one tree.

    WhereuponError
    ├── InvalidContract       WU101  an event class whose contract cannot hold
    ├── InvalidEvent          WU102  a payload that its contract refuses
    ├── InvalidSubscriber     WU201  options or parameters of a subscriber
    ├── InvalidSubscription   WU202  arguments of subscribe()
    ├── InvalidOverlay        WU203  an overlay that cannot be read
    ├── InvalidStore          WU204  all faults of a store at once
    ├── StoreConflict         WU205  a second, different store is installed
    ├── NoStore               WU301  publish() before a store was installed
    ├── NoTransaction         WU302  no transaction to join
    ├── WrongConnection       WU303  on= is of a kind that the ledger cannot join
    ├── WrongLedger           WU304  on= writes to another database than the workers read
    ├── ConditionFailed       WU305  a condition raised, and the store is strict
    ├── PublishError          WU306  the engine did not take what was handed to it
    ├── LedgerMissing         WU401  the ledger's file or tables are not there
    ├── LedgerVersion         WU402  the ledger is older, newer or not ours
    ├── LedgerBusy            WU403  another process held the lock for too long
    ├── LedgerUnavailable     WU404  the database cannot be read or written
    ├── LostClaim             WU405  a delivery was given to another worker meanwhile
    ├── EngineUnavailable     WU406  the broker of the engine does not take jobs
    ├── NoLedger              WU407  the store hands its events to the engine and keeps no record
    ├── WorkerFailed          WU501  a worker cannot start or keeps dying
    ├── DeliveryFailed        WU502  an event that was handed to the engine could not be handled
    ├── InvalidConfiguration  WU601  the CLI cannot find or load what it was told
    └── NotFound              WU602  no such event, subscription or delivery

Each has a stable code, and `whereupon explain CODE` prints its docstring.
An error says what is wrong, where, and one way to mend it. It never shows the value of a payload.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence


class WhereuponError(Exception):
    """Anything that whereupon raises on its own account.

    `problem` is one plain sentence, `where` is `file:line` or a name, `fix` is one way out.
    """

    code: ClassVar[str] = "WU000"

    def __init__(self, problem: str, *, where: str = "", fix: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.where = where
        self.fix = fix

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self.args, self.__dict__)

    def __str__(self) -> str:
        lines = [f"{self.problem} [{self.code}]"]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.fix:
            lines.append(f"  fix: {self.fix}")
        return "\n".join(lines)


def _restored(kind: type[WhereuponError], args: tuple[Any, ...], state: dict[str, Any]) -> WhereuponError:
    """Make an error again in another process, whatever its constructor takes."""
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class InvalidContract(WhereuponError):
    """The contract of an event class cannot hold; raised when the class is made.

    The root of a contract is an object, its keywords are known to JSON Schema 2020-12, its `$ref`s are
    local and come to an end, its patterns run in linear time, and its annotations are types that JSON
    can carry. A contract that checks nothing because of a spelling mistake would be worse than none.
    """

    code = "WU101"


class Fault:
    """One thing that is wrong with a payload: its location (`lines[2].sku`) and what was expected."""

    __slots__ = ("expected", "location")

    def __init__(self, location: str, expected: str) -> None:
        self.location = location
        self.expected = expected

    def __str__(self) -> str:
        return f"{self.location or 'payload'}: {self.expected}"

    def __repr__(self) -> str:
        return f"Fault({str(self)!r})"


class InvalidEvent(WhereuponError):
    """The contract of the event refuses this payload; raised when the event is made.

    `event` is the event's name and `faults` lists everything that is wrong, each with its location.
    Payload values are never shown, as errors end up in logs.
    """

    code = "WU102"

    def __init__(self, event: str, faults: Sequence[Fault], *, where: str = "", fix: str = "") -> None:
        self.event = event
        self.faults = tuple(faults)
        listed = "".join(f"\n  {fault}" for fault in self.faults)
        super().__init__(f"{event} refuses this payload:{listed}", where=where, fix=fix)

    def __str__(self) -> str:
        head, _, listed = self.problem.partition(":\n")
        lines = [f"{head} [{self.code}]", listed]
        if self.where:
            lines.append(f"  contract: {self.where}")
        if self.fix:
            lines.append(f"  fix: {self.fix}")
        return "\n".join(lines)


class InvalidSubscriber(WhereuponError):
    """A subscriber has an option out of range, or a parameter that nothing can fill.

    The first parameter of a subscriber is the event, or a list of events. Each further one is found by
    its annotation: `Envelope`, and with `atomic=True` the ledger's transaction.
    """

    code = "WU201"


class InvalidSubscription(WhereuponError):
    """The arguments of `subscribe()` do not make a subscription.

    It takes a function, `to=` one event class or several, and optionally `when=`, `delay=` (a
    non-negative timedelta) and `group_size=` (1 or more). How the work is done is said by `@subscriber`.
    """

    code = "WU202"


class InvalidOverlay(WhereuponError):
    """An overlay named by an entry point, by `overlays()` or by WHEREUPON_OVERLAYS cannot be read.

    An overlay is a list of subscriptions, a function that returns one, or a module with a name
    `subscriptions`.
    """

    code = "WU203"


class InvalidStore(WhereuponError):
    """The subscriptions do not make a store; `faults` holds every error, not only the first.

    A store checks its whole table when it is built: that each target is an event, that no subscription
    stands there twice, that annotations agree with `to=`, that every option can be honoured.
    """

    code = "WU204"

    def __init__(self, faults: Sequence[WhereuponError]) -> None:
        self.faults = tuple(faults)
        many = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        listed = "".join(f"\n- {fault}" for fault in faults)
        super().__init__(f"the store cannot be built: {many}{listed}")

    def __str__(self) -> str:
        head, _, listed = self.problem.partition("\n")
        return f"{head} [{self.code}]\n{listed}"


class StoreConflict(WhereuponError):
    """A different store is installed already; one process has one store.

    Build the store once, at start-up, and install that one. Tests swap it with
    `whereupon.testing.using_store`.
    """

    code = "WU205"


class NoStore(WhereuponError):
    """Something was published before a store was installed, so nobody could have heard it.

    Call `store.install()` once when the application starts, before it publishes.
    """

    code = "WU301"


class NoTransaction(WhereuponError):
    """There is no open transaction that the event could commit with.

    An event is a fact once the business transaction commits. Pass the connection that is in a
    transaction as `on=`, or make the ledger with `own_transaction=True` if an event of this application
    may commit on its own. In Django, write the business rows and publish inside `transaction.atomic()`.
    """

    code = "WU302"


class WrongConnection(WhereuponError):
    """`on=` is a kind of connection that this ledger cannot join."""

    code = "WU303"


class WrongLedger(WhereuponError):
    """`on=` writes to another database than the one the workers read, so nobody would handle the event.

    Publish through a connection to the ledger's own database, or make the ledger on the database that
    the application writes to.
    """

    code = "WU304"


class ConditionFailed(WhereuponError):
    """A condition (`when=`) raised while an event was published, and the store is strict.

    Nothing was published. Without `strict=True` the failure is reported, the delivery is made all the
    same, and the worker asks the condition again before it handles the event.
    """

    code = "WU305"


class PublishError(WhereuponError):
    """The engine of a store without a ledger did not take everything that was published.

    `subscriptions` are the ids of those that will not hear of it, `events` the ids of the events. After a
    commit it is not raised: it goes to `on_publish_error=` of the store, or into the log.
    """

    code = "WU306"

    def __init__(
        self,
        problem: str,
        *,
        subscriptions: Sequence[str],
        events: Sequence[str],
        fix: str = "",
    ) -> None:
        super().__init__(problem, fix=fix)
        self.subscriptions = tuple(subscriptions)
        self.events = tuple(events)


class LedgerMissing(WhereuponError):
    """The ledger's file or its tables are not there. Publishing and workers never create them.

    `whereupon ledger migrate` makes them.
    """

    code = "WU401"


class LedgerVersion(WhereuponError):
    """The ledger was made by an older or newer whereupon, was left half migrated, or is not a ledger.

    An older ledger is brought up to date by `whereupon ledger migrate`. A newer one is not written to:
    install at least the version that made it.
    """

    code = "WU402"


class LedgerBusy(WhereuponError):
    """Another connection held the database's write lock until the deadline. Trying again is safe.

    Look for a transaction that stays open: a long atomic subscriber, a shell, a backup.
    """

    code = "WU403"


class LedgerUnavailable(WhereuponError):
    """The ledger's database cannot be read or written: corrupt, read-only, full, or gone.

    `retry_is_safe` is true when nothing was written, so that the same call may be made again once the
    cause is mended.
    """

    code = "WU404"

    def __init__(self, problem: str, *, retry_is_safe: bool, where: str = "", fix: str = "") -> None:
        super().__init__(problem, where=where, fix=fix)
        self.retry_is_safe = retry_is_safe


class LostClaim(WhereuponError):
    """The delivery was given to another worker meanwhile, as this one's lease had lapsed.

    Nothing is closed twice: what an atomic subscriber did is rolled back, and the worker that holds the
    delivery now handles it.
    """

    code = "WU405"


class EngineUnavailable(WhereuponError):
    """The broker of the engine cannot be reached or does not take jobs.

    With a ledger nothing is lost: what was published waits there, and the relay tries again, at longer and
    longer intervals of up to thirty seconds. Without one, `sent` is how many of the jobs were taken before.
    """

    code = "WU406"

    def __init__(self, problem: str, *, sent: int = 0, where: str = "", fix: str = "") -> None:
        super().__init__(problem, where=where, fix=fix)
        self.sent = sent


class NoLedger(WhereuponError):
    """The store has no ledger: it hands its events to the engine and keeps no record of them.

    What became of an event is known by the engine alone. A store with `ledger=` can list, show, park and
    replay deliveries, runs local workers, and has atomic subscribers.
    """

    code = "WU407"


class WorkerFailed(WhereuponError):
    """A worker process cannot start, or keeps dying as soon as it has started."""

    code = "WU501"


class DeliveryFailed(WhereuponError):
    """An event that was handed to the engine could not be handled, and is not tried again.

    With a ledger the delivery would be parked. Without one the job of the engine fails with this error, so
    that it is seen where the team looks for failed jobs.
    """

    code = "WU502"


class InvalidConfiguration(WhereuponError):
    """The command line, the environment or pyproject.toml names something that cannot be used.

    The store is found by `--store`, then by WHEREUPON_STORE, then by `[tool.whereupon] store` in
    pyproject.toml, each as `package.module:attribute`.
    """

    code = "WU601"


class NotFound(WhereuponError):
    """There is no such event, subscription, delivery or error code; nothing was changed."""

    code = "WU602"
