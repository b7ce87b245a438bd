"""`whereupon parked`: list what is set aside, try it again, or discard it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from whereupon.cli.reporting import (
    deliveries,
    fail,
    json_option,
    print_json,
    print_table,
    say,
    store_option,
    the_store,
)
from whereupon.cli.show import moment
from whereupon.errors import NotFound
from whereupon.ledger import operators, reports

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from whereupon.ledger.reports import StoredDelivery
    from whereupon.ledger_protocol import Transaction


@click.group()
def parked() -> None:
    """List what is set aside, try it again, or discard it."""


def _selecting(function: Callable[..., Any]) -> Callable[..., Any]:
    function = click.option("--yes", is_flag=True, help="Do it; without, it only counts.")(function)
    function = click.option("--all", "everything", is_flag=True, help="Everything that is parked.")(function)
    function = click.option("--subscription", metavar="ID", help="All of one subscription.")(function)
    return click.argument("ids", nargs=-1, type=int)(store_option(function))


@parked.command(name="list")
@store_option
@json_option
@click.option("--subscription", metavar="ID", help="Those of one subscription only.")
def list_(store: str | None, subscription: str | None, *, as_json: bool) -> None:
    """List what is set aside, oldest first, with the reason."""
    _, loaded = the_store(store)
    with loaded.ledger.reading() as transaction:
        found = reports.parked(transaction, subscription)
    if as_json:
        print_json([asdict(each) for each in found])
        return
    if not found:
        say("nothing is parked")
        return
    print_table(
        ["id", "subscription", "event", "reason", "attempts", "crashes", "last failure", "error"],
        [
            [
                each.id, each.subscription, each.event_id, each.outcome, each.attempts, each.crashes,
                moment(each.history[-1]["at"]) if each.history else "-", each.error,
            ]
            for each in found
        ],
    )  # fmt: skip


@parked.command()
@_selecting
def retry(
    store: str | None, ids: tuple[int, ...], subscription: str | None, *, everything: bool, yes: bool
) -> None:
    """Open parked deliveries again, with all their attempts."""
    _, loaded = the_store(store)
    with loaded.ledger.transaction() as transaction:
        chosen = _chosen(transaction, ids, subscription, everything=everything)
        if not (yes or ids):
            fail(f"{deliveries(len(chosen))} would be tried again; add --yes to do it")
        count = operators.retry_parked(transaction, [each.id for each in chosen])
    say(f"open again: {deliveries(count)}")


@parked.command()
@_selecting
def discard(
    store: str | None, ids: tuple[int, ...], subscription: str | None, *, everything: bool, yes: bool
) -> None:
    """Close parked deliveries for good; they stay on record until retention."""
    _, loaded = the_store(store)
    with loaded.ledger.transaction() as transaction:
        chosen = _chosen(transaction, ids, subscription, everything=everything)
        if not yes:
            fail(f"{deliveries(len(chosen))} would be discarded; add --yes to do it")
        count = operators.discard_parked(transaction, [each.id for each in chosen])
    say(f"discarded: {deliveries(count)}")


def _chosen(
    transaction: Transaction, ids: Sequence[int], subscription: str | None, *, everything: bool
) -> list[StoredDelivery]:
    if bool(ids) + bool(subscription) + everything != 1:
        raise click.UsageError("say which: one or more ids, --subscription ID, or --all")
    found = reports.parked(transaction, subscription)
    if not ids:
        return found
    missing = set(ids) - {each.id for each in found}
    if missing:
        raise NotFound(
            f"no delivery {min(missing)} is parked; nothing was changed",
            fix="whereupon parked list shows all",
        )
    return [each for each in found if each.id in ids]
