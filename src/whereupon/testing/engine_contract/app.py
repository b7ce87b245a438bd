"""The application of the kit: subscribers of every kind, which write what they do into a log file.

A log outside of ledger and broker is the oracle: one line for each start and end, written with O_APPEND.
`WHEREUPON_CONTRACT` names the folder it lies in, `WHEREUPON_CONTRACT_LEDGER` the ledger.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from whereupon.errors import InvalidConfiguration
from whereupon.events import BaseEvent, Event
from whereupon.ledger.sqlite import SQLiteLedger
from whereupon.outcomes import IGNORED, Failed, Park, RetryIn
from whereupon.publishing import publish
from whereupon.store import EventStore
from whereupon.subscribers import subscriber
from whereupon.subscriptions import Subscription, subscribe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from whereupon.engine_protocol import Engine
    from whereupon.ledger_protocol import Ledger

FOLDER: Final = "WHEREUPON_CONTRACT"
"""The variable that names the folder of the log."""
LEDGER: Final = "WHEREUPON_CONTRACT_LEDGER"
"""The variable that names a database on PostgreSQL; empty for a file in the folder."""
DELAY: Final = timedelta(seconds=1)
"""How much later the delayed subscriber hears."""
FANNED_OUT: Final = 20
"""How many subscribers hear of `FannedOut`."""
_SOON: Final = timedelta(seconds=0.1)


class Happened(Event, name="engine_contract.happened"):
    """Something with a number happened; `what` tells the subscriber how to behave."""

    number: int
    what: str = ""


class Told(Event, name="engine_contract.told"):
    """Something that subscribers of all kinds hear."""

    number: int
    what: str = ""


class Grouped(Event, name="engine_contract.grouped"):
    """One of several things that happened together."""

    number: int
    what: str = ""


class Paced(Event, name="engine_contract.paced"):
    """One of several things that took long together."""

    number: int


class Followed(Event, name="engine_contract.followed"):
    """Something was published by a subscriber."""

    number: int


class Crowded(Event, name="engine_contract.crowded"):
    """One of many things that happened at once."""

    number: int


class FannedOut(Event, name="engine_contract.fanned_out"):
    """Something happened that many hear of."""

    number: int


class Line(NamedTuple):
    """One line of the log. `moment` is of the monotonic clock, in seconds."""

    word: str
    subscriber: str
    number: int
    pid: int
    moment: float


def log(word: str, name: str, number: int) -> None:
    """Write a line."""
    line = f"{word} {name} {number} {os.getpid()} {time.monotonic():.4f}\n".encode()
    descriptor = os.open(Path(_folder()) / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


def read_log(folder: Path) -> list[Line]:
    """Return what the subscribers have written so far."""
    whole, _, _ = (folder / "log").read_text(encoding="ascii").rpartition("\n")  # one may be half written
    lines = map(str.split, whole.splitlines())
    return [
        Line(word, name, int(number), int(pid), float(moment)) for word, name, number, pid, moment in lines
    ]


def _folder() -> str:
    folder = os.environ.get(FOLDER)
    if not folder:
        raise InvalidConfiguration(f"{FOLDER} is not set", fix="start workers with Kind.environment")
    return folder


def _starts(name: str, number: int) -> int:
    return sum(line[:3] == ("start", name, number) for line in read_log(Path(_folder())))


@contextlib.contextmanager
def _logged(name: str, number: int) -> Iterator[None]:
    log("start", name, number)
    yield
    log("done", name, number)


@subscriber(name="act", backoff=_SOON, max_attempts=3)
def act(event: Happened) -> object:
    """Do as the event says."""
    with _logged("act", event.number):
        match event.what.split():
            case ["sleep", seconds]:
                time.sleep(float(seconds))
            case ["fail-below", limit] if _starts("act", event.number) < int(limit):
                raise ValueError("not yet")
            case ["retry-in"] if _starts("act", event.number) < 2:
                raise RetryIn(_SOON)
            case ["park"]:
                raise Park("somebody has to look")
            case ["ignore"]:
                return IGNORED
            case ["sys-exit"] if _starts("act", event.number) < 2:
                raise SystemExit(3)
            case ["follow"]:
                publish(Followed(number=event.number))
    return None


@subscriber(name="await_it", queue="other", backoff=_SOON, max_attempts=3)
async def await_it(event: Told) -> None:
    """Handle an event in a coroutine, from another queue."""
    with _logged("await_it", event.number):
        await asyncio.sleep(0.01)
        if event.what == "fail-below 2" and _starts("await_it", event.number) < 2:
            raise ValueError("not yet")


@subscriber(name="one_of_a_group", backoff=_SOON)
def one_of_a_group(event: Grouped) -> None:
    """Handle the events of a group one by one."""
    with _logged("one_of_a_group", event.number):
        if event.what == "fail" and _starts("one_of_a_group", event.number) == 1:
            raise ValueError("once")


@subscriber(name="whole_group", backoff=_SOON)
def whole_group(events: list[Grouped]) -> None:
    """Handle a group in one call, of which some events may fail."""
    for event in events:
        log("start", "whole_group", event.number)
    broken: dict[BaseEvent, BaseException] = {
        event: ValueError("once")
        for event in events
        if event.what == "fail" and _starts("whole_group", event.number) == 1
    }
    for event in events:
        if event not in broken:
            log("done", "whole_group", event.number)
    if broken:
        raise Failed(broken)


@subscriber(name="hear_later")
def hear_later(event: Told) -> None:
    """Hear of an event after a delay."""
    log("done", "hear_later", event.number)


@subscriber(name="hear_even")
def hear_even(event: Told) -> None:
    """Hear of events with even numbers."""
    log("done", "hear_even", event.number)


@subscriber(name="follow")
def follow(event: Followed) -> None:
    """Hear of what a subscriber has published."""
    log("done", "follow", event.number)


@subscriber(name="publish_once", atomic=True, timeout=timedelta(seconds=5), backoff=_SOON)
def publish_once(event: Told) -> None:
    """Publish in the transaction that closes the delivery, and fail at the first attempt."""
    with _logged("publish_once", event.number):
        publish(Followed(number=event.number))
        if _starts("publish_once", event.number) == 1:
            raise ValueError("rolled back")


@subscriber(name="one_at_a_time", concurrency=1)
def one_at_a_time(event: Crowded) -> None:
    """Be handled one at a time in each process."""
    with _logged("one_at_a_time", event.number):
        time.sleep(0.05)


@subscriber(name="hasty", priority="high")
def hasty(event: Told) -> None:
    """Be handled before others, where the engine knows priorities."""
    log("done", "hasty", event.number)


@subscriber(name="limited", timeout=timedelta(seconds=1), backoff=_SOON, max_attempts=2)
def limited(event: Told) -> None:
    """Run over a time limit, where the engine can stop a function."""
    with _logged("limited", event.number):
        time.sleep(4 if event.what == "too long" else 0)


@subscriber(name="limited_each", timeout=timedelta(seconds=1), backoff=_SOON)
def limited_each(event: Paced) -> None:
    """Stay below a time limit that the group as a whole runs over."""
    with _logged("limited_each", event.number):
        time.sleep(0.5)


@subscriber(name="limited_coroutine", timeout=timedelta(seconds=1), backoff=_SOON, max_attempts=2)
async def limited_coroutine(event: Told) -> None:
    """Run over a time limit in a coroutine."""
    with _logged("limited_coroutine", event.number):
        await asyncio.sleep(4 if event.what == "too long" else 0)


def _one_of_many(position: int) -> Callable[[FannedOut], None]:
    def hear(event: FannedOut) -> None:
        log("done", f"hear_{position}", event.number)

    return subscriber(name=f"hear_{position}", queue="other" if position % 2 else "default")(hear)


OPTIONAL: Final = {
    "hasty": {"priority"},
    "limited": {"timeout"},
    "limited_each": {"timeout"},
    "publish_once": {"atomic", "timeout"},
}
"""Subscribers with options that an engine may refuse, and then has to refuse when a store is built."""
_TABLE: Final = {
    "act": subscribe(act, to=Happened),
    "await_it": subscribe(await_it, to=Told),
    "one_of_a_group": subscribe(one_of_a_group, to=Grouped, group_size=3),
    "whole_group": subscribe(whole_group, to=Grouped, group_size=3),
    "hear_later": subscribe(hear_later, to=Told, delay=DELAY),
    "hear_even": subscribe(hear_even, to=Told, when=lambda event: event.number % 2 == 0),
    "follow": subscribe(follow, to=Followed),
    "publish_once": subscribe(publish_once, to=Told),
    "one_at_a_time": subscribe(one_at_a_time, to=Crowded),
    "hasty": subscribe(hasty, to=Told),
    "limited": subscribe(limited, to=Told),
    "limited_each": subscribe(limited_each, to=Paced, group_size=3),
    "limited_coroutine": subscribe(limited_coroutine, to=Told),
} | {f"hear_{position}": subscribe(_one_of_many(position), to=FannedOut) for position in range(FANNED_OUT)}


def subscriptions_for(engine: Engine | None) -> list[Subscription]:
    """Return the table, without what the engine refuses."""
    return [each for name, each in _TABLE.items() if name not in OPTIONAL or not _refuses(engine, each)]


def _refuses(engine: Engine | None, subscription: Subscription) -> bool:
    return engine is not None and any(list(engine.faults_of(each)) for each in subscription.each())


def make_store(engine: Engine | None, ledger: Ledger | None = None) -> EventStore:
    """Return the store of publishers and workers; its ledger is the one of the environment unless given."""
    return EventStore(subscriptions=subscriptions_for(engine), ledger=ledger or make_ledger(), engine=engine)


def make_store_without_ledger(engine: Engine) -> EventStore:
    """Return the store of publishers and workers in handoff: without what needs a ledger."""
    table = [each for each in subscriptions_for(engine) if not each.subscriber.options.atomic]
    return EventStore(subscriptions=table, engine=engine)


def make_ledger() -> Ledger:
    """Return the ledger that the environment names."""
    if url := os.environ.get(LEDGER):
        from whereupon.ledger.postgres import PostgresLedger

        return PostgresLedger(url, own_transaction=True)
    return SQLiteLedger(Path(_folder()) / "ledger.sqlite3", own_transaction=True)
