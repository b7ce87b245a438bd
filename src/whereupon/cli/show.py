"""`whereupon show ID`: one event, its causes and effects, and what became of each delivery."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from whereupon.cli.reporting import json_option, print_json, say, store_option, the_store
from whereupon.errors import NotFound
from whereupon.ledger import reports

if TYPE_CHECKING:
    from collections.abc import Iterator

    from whereupon.ledger.reports import StoredDelivery, StoredEvent
    from whereupon.ledger_protocol import Transaction

_DEPTH = 50


@click.command()
@click.argument("event_id", metavar="ID")
@store_option
@json_option
def show(event_id: str, store: str | None, *, as_json: bool) -> None:
    """Show one event: what caused it, what it caused, and the attempts of each delivery."""
    _, loaded = the_store(store)
    with loaded.ledger.reading() as transaction:
        event = reports.event(transaction, event_id)
        if event is None:
            raise NotFound(f"there is no event {event_id} in {loaded.ledger.describe()}")
        causes = _causes(transaction, event)
        if as_json:
            print_json({"causes": [asdict(each) for each in causes], **_tree(transaction, event, 0)})
            return
        for depth, cause in enumerate(causes):
            say(f"{'   ' * depth}{_title(cause)}")
        for line in _lines(transaction, event, 0):
            say(f"{'   ' * len(causes)}{line}")


def _causes(transaction: Transaction, event: StoredEvent) -> list[StoredEvent]:
    """Return the chain of causes, the first one first; it ends where an event has been purged."""
    chain: list[StoredEvent] = []
    while event.causation_id and len(chain) < _DEPTH:
        cause = reports.event(transaction, event.causation_id)
        if cause is None:
            break
        chain.insert(0, cause)
        event = cause
    return chain


def _tree(transaction: Transaction, event: StoredEvent, depth: int) -> dict[str, Any]:
    effects = reports.effects(transaction, event.id) if depth < _DEPTH else []
    return {
        "event": asdict(event),
        "deliveries": [asdict(each) for each in reports.deliveries(transaction, event.id)],
        "effects": [_tree(transaction, each, depth + 1) for each in effects],
    }


def _lines(transaction: Transaction, event: StoredEvent, depth: int) -> Iterator[str]:
    yield _title(event) + ("" if depth else "   <- this one")
    effects = reports.effects(transaction, event.id) if depth < _DEPTH else []
    branches: list[list[str]] = [list(_delivery(each)) for each in reports.deliveries(transaction, event.id)]
    branches += [[f"{each}: skipped, its condition refused the event"] for each in event.skipped]
    branches += [list(_lines(transaction, each, depth + 1)) for each in effects]
    for position, branch in enumerate(branches):
        is_last = position == len(branches) - 1
        yield ("└─ " if is_last else "├─ ") + branch[0]
        for line in branch[1:]:
            yield ("   " if is_last else "│  ") + line


def _title(event: StoredEvent) -> str:
    return f"{event.name} {event.id} published {moment(event.published_at)}"


def _delivery(delivery: StoredDelivery) -> Iterator[str]:
    state = delivery.state
    if state == "done":
        state = f"done ({delivery.outcome}) {moment(delivery.done_at)}"
    elif state == "parked":
        state = f"parked ({delivery.outcome}): {delivery.error}"
    elif state == "open":
        state = f"open, due {moment(delivery.due_at)}"
    elif delivery.overrunning:
        state = "claimed, overrunning"
    replayed = f", replayed {delivery.replays} times" if delivery.replays else ""
    yield f"{delivery.subscription}: {state}{replayed}"
    for entry in delivery.history:
        what = "interrupted" if entry["attempt"] is None else f"attempt {entry['attempt']} failed"
        yield f"   {what} {moment(entry['at'])}: {entry['error']}"


def moment(milliseconds: int | None) -> str:
    """Write a time of the ledger as date and time, UTC."""
    if milliseconds is None:
        return "-"
    return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%d %H:%M:%S}Z"
