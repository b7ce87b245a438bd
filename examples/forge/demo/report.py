"""What the demo says at its end."""

from collections import Counter
from typing import Final

from forge import database
from forge.demo.oracle import Verdict
from forge.demo.refusal import refused
from forge.event_store import store
from whereupon.catalog.mermaid import mermaid
from whereupon.cli.reporting import print_table, say
from whereupon.ledger import reports

_CONTEXTS: Final = ("git", "ci", "merge_requests", "onboarding", "search")
_COLUMNS: Final = {
    "handled": "handled",
    "ignored": "ignored",
    "skipped": "skipped",
    "retried": "tried again",
    "parked": "parked",
}


def print_report(verdict: Verdict) -> None:
    """Print what each context did, the verdict, what is parked, a refusal and the graph."""
    say("\nThe rows that each context has written, and what became of the deliveries to it:\n")
    print_table(("context", "rows", *_COLUMNS.values()), _rows())
    say(
        "\nignored: handled, and there was nothing to do. skipped: refused by the condition of the\n"
        "subscription, so that no delivery was made. tried again: after an exception or the kill."
    )
    _print_verdict(verdict)
    _print_parked()
    code, error = refused()
    say("\nAn event that breaks its contract is refused where it is made, before anybody hears of it:\n")
    say(f"  >>> {code}\n{_indented(error)}")
    say("\nWho hears what, as Mermaid text, drawn from the same table that routes the events:\n")
    say(_indented(mermaid(store)))


def _rows() -> list[tuple[object, ...]]:
    """Return one row for each context: what it wrote, and what became of its deliveries."""
    with store.ledger.reading() as transaction:
        tallies = reports.tallies(transaction)
    counts: dict[str, Counter[str]] = {context: Counter() for context in _CONTEXTS}
    for tally in tallies:
        own = counts[tally.subscription.partition(".")[0]]
        own.update({column: getattr(tally, column) for column in _COLUMNS})
    return [
        (context, f"{_written(context):,}", *(f"{counts[context][column]:,}" for column in _COLUMNS))
        for context in _CONTEXTS
    ]


def _written(context: str) -> int:
    """Count the rows of a context's own tables, which bear its name."""
    with database.transaction() as connection:
        found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        tables = [name for (name,) in found if name.startswith(f"{context}_")]
        return sum(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables)


def _print_verdict(verdict: Verdict) -> None:
    lost, twice = sum(verdict.lost.values()), sum(verdict.twice.values())
    say(f"\npublished {verdict.events:,} events, {verdict.deliveries:,} deliveries; lost {lost:,}")
    say(f"duplicates of effects {twice:,}")
    for name, count in {**verdict.lost, **verdict.twice}.items():
        say(f"  {count:,} {name}")
    say(
        "\nNeither is a counter of the ledger. The rows of the contexts were compared: whether each commit\n"
        "has its pipeline and its entry in the index, each author a welcome, and so on. Then the store was\n"
        "asked again who hears each event, and whether each of these deliveries is done or parked."
    )


def _print_parked() -> None:
    with store.ledger.reading() as transaction:
        parked = reports.parked(transaction)
    if not parked:
        return
    say("\nParked deliveries are not lost: they wait until somebody tries them again or discards them.\n")
    reasons = Counter((each.subscription, each.attempts, each.error or "") for each in parked)
    for (subscription, attempts, error), count in reasons.items():
        say(f"  {count:,} × {subscription}, after {attempts} attempts\n    {error}")


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
