"""Cases in which something is refused: options when a store is built, payloads when they are handled."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from whereupon.errors import InvalidStore
from whereupon.ledger import reports
from whereupon.store import EventStore
from whereupon.subscribers import subscriber
from whereupon.subscriptions import subscribe
from whereupon.testing.engine_contract.app import OPTIONAL, Followed, Grouped, Happened
from whereupon.testing.engine_contract.living import expect

if TYPE_CHECKING:
    from collections.abc import Mapping

    from whereupon.ledger.reports import StoredDelivery
    from whereupon.ledger_protocol import Record
    from whereupon.testing.engine_contract.rig import Rig

_OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "queue": {"queue": "other"},
    "priority": {"priority": "high"},
    "max_attempts": {"max_attempts": 2},
    "backoff": {"backoff": timedelta(seconds=1)},
    "timeout": {"timeout": timedelta(seconds=1)},
    "concurrency": {"concurrency": 1},
    "atomic": {"atomic": True},
    "park_on": {"park_on": [OSError]},
}
_CANARY: Final = "canary-7"
_UNKNOWN: Final = "f" * 16


def options(rig: Rig) -> None:
    """Build a store with each option; what the kind does not name has to be taken, and then honoured."""
    engine, ledger = rig.store.engine, rig.store.ledger
    refused = {name for name, said in _OPTIONS.items() if _is_refused(rig, said)}
    expected = {*rig.kind.refuses} | (set() if rig.store.is_tracked else {"atomic"})
    assert refused == expected, f"refused: {refused}, expected {expected}, with {ledger.describe()}"  # noqa: S101
    if engine is not None:
        assert engine.features.priority == ("priority" not in refused), "Features.priority says so"  # noqa: S101
    missing = OPTIONAL.keys() - {each.subscriber.name for each in rig.store.routes}
    assert missing == {name for name, needed in OPTIONAL.items() if needed & refused}  # noqa: S101


def _is_refused(rig: Rig, said: Mapping[str, Any]) -> bool:
    @subscriber(name="with_an_option", **said)
    def hear(event: Followed) -> None: ...

    table = [subscribe(hear, to=Followed)]
    try:
        EventStore(subscriptions=table, ledger=rig.store.ledger, engine=rig.store.engine)
    except InvalidStore as error:
        refusal = str(error)
    else:
        return False
    assert "with_an_option" in refusal, f"it does not say whose option: {refusal}"  # noqa: S101
    return True


def payloads(rig: Rig) -> None:
    """Let one event of a group have a payload that its own contract refuses, behind publish's back."""
    rig.at_least(1)
    numbers = [rig.number() for _ in range(3)]
    first, broken, last = rig.store.records([Grouped(number=each) for each in numbers])
    rig.write([first, _forged(broken, {"what": _CANARY}), last])
    rig.until_quiet()
    names = ("one_of_a_group", "whole_group")
    for name in names:
        expect(rig, "done", name, {numbers[0]: 1, numbers[2]: 1})
    if rig.store.is_tracked:
        for each in _deliveries(rig, broken):
            assert (each.outcome, each.attempts) == ("refused", 0), f"{each.outcome}: {each.error}"  # noqa: S101
            assert "number: is required" in str(each.error), each.error  # noqa: S101
        assert _CANARY not in rig.output(), "no payload value is printed"  # noqa: S101
    rig.until(lambda: rig.output().count("number: is required") >= len(names))


def payloads_of_newer_code(rig: Rig) -> None:
    """Let a payload be refused that was made with another contract, until there is code that accepts it."""
    rig.at_least(1)
    early, number = rig.number(), rig.number()
    (record,) = rig.store.records([Happened(number=number)])
    rig.write([_forged(record, {"count": number}, _UNKNOWN)])
    rig.publish(Happened(number=early))
    rig.until(lambda: _deliveries(rig, record)[0].refused_at is not None)
    rig.until(lambda: rig.count("done", "act")[early])
    (waiting,) = _deliveries(rig, record)
    assert (waiting.state, waiting.attempts) == ("open", 0), f"{waiting.state}: {waiting.error}"  # noqa: S101
    _accept(rig, record)
    rig.until_quiet()
    expect(rig, "done", "act", {early: 1, number: 1})


def _accept(rig: Rig, record: Record) -> None:
    """Do as if newer code had come: it reads the payload, and it is time to look again."""
    with rig.store.ledger.transaction() as transaction:
        text = {"text": record.text.decode(), "id": record.envelope.id}
        transaction.run("UPDATE whereupon_event SET envelope = :text WHERE id = :id", text)
        due = {"now": transaction.now(), "id": record.envelope.id}
        transaction.run("UPDATE whereupon_delivery SET due_at = :now WHERE event_id = :id", due)


def _forged(record: Record, data: Mapping[str, Any], fingerprint: str = "") -> Record:
    """Return what is written of an event with another payload, and perhaps another contract."""
    own = record.envelope
    forged = dataclasses.replace(own, data=data, fingerprint=fingerprint or own.fingerprint)
    return record._replace(text=forged.to_json())


def _deliveries(rig: Rig, record: Record) -> list[StoredDelivery]:
    with rig.store.ledger.reading() as transaction:
        return reports.deliveries(transaction, record.envelope.id)
