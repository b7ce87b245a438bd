"""`whereupon doctor`: what endangers delivery on this machine, with the reason and the fix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import click

from whereupon.cli.reporting import (
    FINDINGS,
    deliveries,
    json_option,
    print_json,
    say,
    store_option,
    the_store,
)
from whereupon.ledger import reports, rescue

if TYPE_CHECKING:
    from collections.abc import Iterator

    from whereupon.ledger_protocol import Finding
    from whereupon.store import EventStore

_LATE: Final = 60_000  # milliseconds that a delivery may be overdue before it is a finding


@click.command()
@store_option
@json_option
def doctor(store: str | None, *, as_json: bool) -> None:
    """Look for what endangers delivery. Exit status 1 when there is a finding."""
    _, loaded = the_store(store)
    loaded.install()  # which is when an engine learns of its subscribers
    of_engine = loaded.engine.findings() if loaded.engine else ()
    progress = _progress(loaded) if loaded.is_tracked else ()
    findings = [*loaded.ledger.findings(), *of_engine, *progress]
    if as_json:
        print_json([{"level": level, "text": text} for level, text in findings])
    else:
        for level, text in findings:
            say(f"{level:<8}{text}")
    if any(level != "ok" for level, _ in findings):
        raise SystemExit(FINDINGS)


def _progress(store: EventStore) -> Iterator[Finding]:
    known = [identity for each in store.routes for identity in each.ids]
    with store.ledger.reading() as transaction:
        now = transaction.now()
        workers = rescue.processes(transaction)
        oldest = reports.oldest_open(transaction)
        last = reports.last_done(transaction)
        waiting = reports.waiting_for_code(transaction, known)
        parked = reports.parked(transaction)
    alive = [each for each in workers if each.lease_until > now]
    unfinished = oldest is not None
    yield ("ok" if alive or not unfinished else "error"), _workers_text(len(alive), len(workers))
    yield _of_progress(oldest, last, now)
    for subscription, count in waiting.items():
        yield (
            "warning",
            f"waiting for code that knows {subscription}: {deliveries(count)}",
        )
    if parked:
        yield "warning", f"parked: {deliveries(len(parked))}; see whereupon parked list"


def _of_progress(oldest: tuple[str, int] | None, last: int | None, now: int) -> Finding:
    """Say what is overdue, and whether anything has been finished lately: being connected is no progress."""
    finished = (
        "nothing was finished yet" if last is None else f"last finished {(now - last) / 1000:.0f} s ago"
    )
    if oldest is None:
        return "ok", f"nothing is overdue; {finished}"
    subscription, due_at = oldest
    is_late = now - due_at > _LATE
    stands_still = last is None or now - last > _LATE
    level: Literal["ok", "warning", "error"] = "ok" if not is_late else "error" if stands_still else "warning"
    return level, f"due for {(now - due_at) / 1000:.1f} s: {subscription}; {finished}"


def _workers_text(alive: int, known: int) -> str:
    lapsed = f", {known - alive} with a lapsed lease" if known > alive else ""
    return f"workers that hold a lease: {alive}{lapsed}" + (
        "" if alive else "; start one with whereupon worker"
    )
