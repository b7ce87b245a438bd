"""Cases in which all processes live: what is published is handled, whatever jobs there are besides."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, cast

from whereupon.engine_protocol import WakeUp
from whereupon.relay import Relay
from whereupon.testing.engine_contract.app import (
    DELAY,
    FANNED_OUT,
    Crowded,
    FannedOut,
    Followed,
    Grouped,
    Happened,
    Paced,
    Told,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from whereupon.engine_protocol import Engine
    from whereupon.testing.engine_contract.rig import Rig

_FORGED: Final[list[Any]] = ["1", [True], None, [1.5], {"id": 1}, [[1]], [1, "2"]]
_UNKNOWN: Final[list[Any]] = [[2**62], [-1], [2**70], []]


def every_kind_of_subscriber(rig: Rig) -> None:
    """Publish to functions, coroutines and atomic subscribers, with delays and conditions, on two queues."""
    rig.at_least(1)
    numbers = [rig.number(), rig.number()]
    rig.publish(*[Told(number=each) for each in numbers])
    rig.until_quiet()
    names = {each.subscriber.name for each in rig.store.routes if each.event is Told}
    for name in sorted(names - {"hear_even", "publish_once"}):
        expect(rig, "done", name, dict.fromkeys(numbers, 1))
    expect(rig, "done", "hear_even", {each: 1 for each in numbers if each % 2 == 0})
    if "publish_once" in names:
        expect(rig, "start", "publish_once", dict.fromkeys(numbers, 2))
        expect(rig, "done", "follow", dict.fromkeys(numbers, 1))


def delay(rig: Rig) -> None:
    """Publish to a delayed subscriber; how late others hear depends on how often a worker looks."""
    rig.at_least(1)
    number = rig.number()
    published = time.monotonic()
    rig.publish(Told(number=number))
    rig.until_quiet()
    (heard,) = rig.moments("done", "hear_later", number)
    assert heard - published >= DELAY.total_seconds() * 0.9, f"{heard - published} s later"  # noqa: S101


def fan_out(rig: Rig) -> None:
    """Publish one event to twenty subscribers on two queues."""
    rig.at_least(1)
    number = rig.number()
    rig.publish(FannedOut(number=number))
    rig.until_quiet()
    for position in range(FANNED_OUT):
        expect(rig, "done", f"hear_{position}", {number: 1})


def fan_out_in_one_call(rig: Rig) -> None:
    """Relay one event for twenty subscribers on two queues, and count how often the engine is called."""
    rig.end_workers()
    number = rig.number()
    rig.publish(FannedOut(number=number))
    counted = _Counted(cast("Engine", rig.store.engine))
    connection = rig.store.ledger.connect()
    try:
        sent = Relay(rig.store, cast("Engine", counted)).turn(connection)
    finally:
        connection.close()
    assert sent == FANNED_OUT, f"{sent} wake-ups"  # noqa: S101
    queues = [sorted({each.subscriber.options.queue for each in call}) for call in counted.calls]
    assert sorted(queues) == [["default"], ["other"]], f"calls of enqueue: {queues}"  # noqa: S101
    rig.at_least(1)
    rig.until_quiet()
    for position in range(FANNED_OUT):
        expect(rig, "done", f"hear_{position}", {number: 1})


class _Counted:
    """An engine that notes each call of enqueue, and passes it on."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.calls: list[Sequence[WakeUp]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def enqueue(self, wake_ups: Sequence[WakeUp]) -> None:
        """Note a call, and pass it on."""
        self.calls.append(wake_ups)
        self._engine.enqueue(wake_ups)


def groups(rig: Rig) -> None:
    """Let one event of a group fail, where they are handled one by one and where in one call."""
    rig.at_least(1)
    numbers = [rig.number() for _ in range(6)]
    rig.publish(*[Grouped(number=each, what="fail" if each == numbers[1] else "") for each in numbers])
    rig.until_quiet()
    once, starts = dict.fromkeys(numbers, 1), dict.fromkeys(numbers, 1) | {numbers[1]: 2}
    for name in ("one_of_a_group", "whole_group"):
        expect(rig, "start", name, starts)
        expect(rig, "done", name, once)


def retries(rig: Rig) -> None:
    """Fail, and end attempts, in every way there is."""
    rig.at_least(1)
    words = {"fail-below 3": 3, "fail-below 9": 3, "retry-in": 2, "park": 1, "ignore": 1, "sys-exit": 2}
    numbers = {word: rig.number() for word in words}
    rig.publish(*[Happened(number=number, what=word) for word, number in numbers.items()])
    rig.until_quiet()
    expect(rig, "start", "act", {numbers[word]: starts for word, starts in words.items()})
    if rig.store.is_tracked:
        assert rig.parked() == ["attempts", "subscriber"], f"parked: {rig.parked()}"  # noqa: S101


def follow_ups(rig: Rig) -> None:
    """Publish from a subscriber."""
    rig.at_least(1)
    number = rig.number()
    rig.publish(Happened(number=number, what="follow"))
    rig.until_quiet()
    expect(rig, "done", "follow", {number: 1})


def concurrency(rig: Rig) -> None:
    """Publish more than may be handled at once."""
    rig.at_least(1)
    numbers = [rig.number() for _ in range(8)]
    rig.publish(*[Crowded(number=each) for each in numbers])
    rig.until_quiet()
    expect(rig, "done", "one_at_a_time", dict.fromkeys(numbers, 1))
    words: dict[int, str] = {}
    for line in rig.log():
        if line.subscriber == "one_at_a_time":
            words[line.pid] = words.get(line.pid, "") + line.word[0]
    for pid, word in words.items():
        assert word == "sd" * (len(word) // 2), f"two at once in process {pid}: {word}"  # noqa: S101


def time_limits(rig: Rig) -> None:
    """Run over time limits until the attempts are used up."""
    rig.at_least(1)
    number = rig.number()
    names = {each.subscriber.name for each in rig.store.routes} & {"limited", "limited_coroutine"}
    before = len(rig.parked())
    rig.publish(Told(number=number, what="too long"))
    rig.until_quiet(60)
    for name in names:
        expect(rig, "start", name, {number: 2})
        assert not rig.count("done", name)[number], f"{name} has ended"  # noqa: S101
    if rig.store.is_tracked:
        assert len(rig.parked()) - before == len(names), "each is parked"  # noqa: S101


def time_limits_in_groups(rig: Rig) -> None:
    """Handle a group that takes longer than the time limit of each of its calls."""
    rig.at_least(1)
    if not any(each.subscriber.name == "limited_each" for each in rig.store.routes):
        return
    numbers = [rig.number() for _ in range(3)]
    rig.publish(*[Paced(number=each) for each in numbers])
    rig.until_quiet()
    expect(rig, "start", "limited_each", dict.fromkeys(numbers, 1))
    expect(rig, "done", "limited_each", dict.fromkeys(numbers, 1))


def duplicates(rig: Rig) -> None:
    """Send jobs twice, late and out of order."""
    rig.at_least(1)
    numbers = [rig.number() for _ in range(5)]
    rig.publish(*[Happened(number=each) for each in numbers])
    again = [*_wake_ups(rig)[-10:]]
    rig.store.engine.enqueue(again + again[::-1])  # type: ignore[union-attr]
    rig.until_quiet()
    rig.store.engine.enqueue(again)  # type: ignore[union-attr]
    _settle(rig)
    expect(rig, "start", "act", dict.fromkeys(numbers, 1))


def forged_jobs(rig: Rig) -> None:
    """Send jobs for unknown deliveries and subscribers, and what is no wake-up."""
    rig.at_least(1)
    for argument in _UNKNOWN + _FORGED:
        rig.kind.send("engine_contract.act", argument)
    rig.kind.send("engine_contract.nobody", [1])
    number = rig.number()
    rig.publish(Happened(number=number))
    rig.until_quiet()
    _settle(rig)
    expect(rig, "start", "act", {number: 1})
    refusal = "that is no wake-up" if rig.store.is_tracked else "that is no event"
    rig.until(lambda: rig.output().count(refusal) >= len(_FORGED))


def _wake_ups(rig: Rig) -> list[WakeUp]:
    with rig.store.ledger.reading() as transaction:
        rows = transaction.rows("SELECT id, subscription FROM whereupon_delivery ORDER BY id")
    routes = rig.store.routes.by_id
    return [WakeUp(delivery, routes[subscription].subscriber) for delivery, subscription in rows]


def _settle(rig: Rig) -> None:
    """Wait until jobs sent so far must have been taken: until one sent behind them has."""
    number = rig.number()
    rig.publish(Followed(number=number))
    rig.until(lambda: rig.count("done", "follow")[number])


def expect(rig: Rig, word: str, name: str, expected: dict[int, int]) -> None:
    """Compare what a subscriber has written of these numbers, and of later ones."""
    first = min(expected)
    found = {number: count for number, count in rig.count(word, name).items() if number >= first}
    assert found == expected, f"{name} {word}: {found}, expected {expected}"  # noqa: S101
