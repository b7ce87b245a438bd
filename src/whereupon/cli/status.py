"""`whereupon status`: what is open, done, noise or parked, subscription by subscription."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import click

from whereupon.cli.reporting import json_option, print_json, print_table, say, store_option, the_store
from whereupon.ledger import reports, rescue

if TYPE_CHECKING:
    from whereupon.ledger.reports import Tally

_ENOUGH: Final = 20  # deliveries from which on the share of noise says something


@click.command()
@store_option
@json_option
def status(store: str | None, *, as_json: bool) -> None:
    """Show what became of the deliveries on record, and who works."""
    _, loaded = the_store(store)
    with loaded.ledger.reading() as transaction:
        tallies = reports.tallies(transaction)
        workers = rescue.processes(transaction)
    known = {identity for each in loaded.routes for identity in each.ids}
    advice = [each.subscription for each in tallies if _is_noise(each)]
    if as_json:
        print_json(
            {
                "subscriptions": [
                    asdict(each) | {"known": each.subscription in known, "noise": each.subscription in advice}
                    for each in tallies
                ],
                "workers": [asdict(each) for each in workers],
            }
        )
        return
    _print(tallies, known)
    say(f"workers: {len(workers)}" + ("" if workers else "; start one with whereupon worker"))
    for name in advice:
        say(f"most deliveries of {name} are ignored by it: a condition (when=) would save these jobs")


def _print(tallies: list[Tally], known: set[str]) -> None:
    if not tallies:
        say("no deliveries on record")
        return
    print_table(
        ["subscription", "open", "claimed", "handled", "ignored", "skipped", "retried", "parked", "late"],
        [
            [
                each.subscription + ("" if each.subscription in known else " (waits for code)"),
                each.open,
                each.claimed,
                each.handled,
                each.ignored,
                each.skipped,
                each.retried,
                each.parked,
                f"{each.late / 1000:.1f} s" if each.late > 0 else "-",
            ]
            for each in tallies
        ],
    )


def _is_noise(tally: Tally) -> bool:
    done = tally.handled + tally.ignored
    return done >= _ENOUGH and tally.ignored > tally.handled
