"""`whereupon why EVENT`: who hears this event."""

from __future__ import annotations

from dataclasses import asdict

import click

from whereupon.catalog.model import hearings_of
from whereupon.cli.list import print_hearings
from whereupon.cli.reporting import json_option, print_json, say, store_option, the_store


@click.command()
@click.argument("event")
@store_option
@json_option
def why(event: str, store: str | None, *, as_json: bool) -> None:
    """Say who hears EVENT: each subscriber, its context, condition, delay and queue."""
    _, loaded = the_store(store)
    found = hearings_of(loaded, event)
    if as_json:
        print_json([asdict(each) for each in found])
        return
    print_hearings(found)
    say()
    for each in found:
        say(f"{each.subscription}\n  handled at {each.subscriber_at}, subscribed at {each.subscribed_at}")
