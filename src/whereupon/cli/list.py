"""`whereupon list`: the whole table of subscriptions."""

from __future__ import annotations

from dataclasses import asdict

import click

from whereupon.catalog.model import Hearing, hearings
from whereupon.cli.reporting import json_option, print_json, print_table, say, store_option, the_store


@click.command(name="list")
@store_option
@json_option
def list_(store: str | None, *, as_json: bool) -> None:
    """List who hears what."""
    _, loaded = the_store(store)
    found = hearings(loaded)
    if as_json:
        print_json([asdict(each) for each in found])
    elif found:
        print_hearings(found)
    else:
        say("the store has no subscriptions")


def print_hearings(found: list[Hearing]) -> None:
    """Print a table of subscriptions."""
    print_table(
        ["event", "subscriber", "context", "condition", "delay", "group", "queue", "priority", "attempts"],
        [
            [
                each.event,
                each.subscription.partition(":")[0],
                each.context,
                each.condition or "-",
                f"{each.delay:g} s" if each.delay else "-",
                each.group_size if each.group_size > 1 else "-",
                each.queue,
                each.priority,
                each.max_attempts,
            ]
            for each in found
        ],
    )
