"""`whereupon replay`: deliver past events to one subscription once more, or for the first time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from whereupon.cli.reporting import counted, fail, say, store_option, the_store
from whereupon.errors import NotFound
from whereupon.events import contract_of
from whereupon.ledger import operators, reports
from whereupon.naming import suggestion

if TYPE_CHECKING:
    from whereupon.ledger_protocol import Transaction
    from whereupon.store import EventStore
    from whereupon.subscriptions import Subscription


class _Moment(click.ParamType[datetime]):
    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value} is not a date or a time such as 2026-11-24T09:30", param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@click.command()
@click.argument("ids", nargs=-1, metavar="[EVENT_ID]...")
@click.option("--to", "subscription", required=True, metavar="ID", help="The subscription that gets them.")
@click.option("--since", type=_Moment(), help="All events of the subscription since a time (UTC).")
@click.option("--yes", is_flag=True, help="Do it; without, it only counts.")
@store_option
def replay(
    ids: tuple[str, ...], subscription: str, since: datetime | None, store: str | None, *, yes: bool
) -> None:
    """Deliver past events to one subscription: the named ones, or all since a time.

    The events keep their ids. Conditions are not asked. Only what retention has left can be replayed.
    """
    if bool(ids) == (since is not None):
        raise click.UsageError("say which events: one or more ids, or --since TIME")
    _, loaded = the_store(store)
    target = _subscription(loaded, subscription)
    with loaded.ledger.transaction() as transaction:
        events = _events(transaction, target, ids, since)
        if not yes:
            fail(f"{counted(len(events), 'event', 'events')} would go to {target.id}; add --yes to do it")
        count = operators.replay(transaction, events, target.id)
    say(f"{counted(count, 'event goes', 'events go')} to {target.id}; open already: {len(events) - count}")


def _subscription(store: EventStore, identity: str) -> Subscription:
    found = store.routes.by_id.get(identity)
    if found is None:
        raise NotFound(
            f"there is no subscription {identity}{suggestion(identity, store.routes.by_id)}",
            fix="whereupon list shows all",
        )
    return found


def _events(
    transaction: Transaction, target: Subscription, ids: tuple[str, ...], since: datetime | None
) -> list[str]:
    names = contract_of(target.event).names
    if since is not None:
        return operators.events_named(transaction, names, round(since.timestamp() * 1000))
    for each in ids:
        event = reports.event(transaction, each)
        if event is None:
            raise NotFound(f"there is no event {each}; nothing was changed")
        if event.name not in names:
            raise NotFound(f"{each} is {event.name}, and {target.id} does not hear that; nothing was changed")
    return list(ids)
