"""`whereupon ledger`: make the tables, print their SQL, purge."""

from __future__ import annotations

from typing import Literal

import click

from whereupon.cli.reporting import counted, deliveries, fail, say, store_option, the_store
from whereupon.ledger import upkeep
from whereupon.ledger.dialect import Dialect
from whereupon.ledger.schema import migration_sql


@click.group()
def ledger() -> None:
    """Make, show or clean the tables of the ledger."""


@ledger.command()
@store_option
def migrate(store: str | None) -> None:
    """Create the ledger, or bring its tables up to date."""
    _, loaded = the_store(store)
    before, after = loaded.ledger.migrate()
    moved = f"has version {after}" if before == after else f"went from version {before} to {after}"
    say(f"the ledger {loaded.ledger.describe()} {moved}")


@ledger.command()
@click.option(
    "--from",
    "current",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="The version there is.",
)
@click.option(
    "--database",
    type=click.Choice(["sqlite", "postgresql"]),
    help="For which database; that of the store by default.",
)
@store_option
def sql(store: str | None, current: int, database: Literal["sqlite", "postgresql"] | None) -> None:
    """Print the SQL that `migrate` would run."""
    dialect = Dialect(database, "named") if database else the_store(store)[1].ledger.dialect
    for statement in migration_sql(current):
        say(f"{dialect.render(statement)};")


@ledger.command()
@store_option
@click.option("--subject", help="Erase every event of this subject, open and parked ones too.")
@click.option("--yes", is_flag=True, help="Do it; without, erasing only counts.")
def purge(store: str | None, subject: str | None, *, yes: bool) -> None:
    """Delete what retention lets go, or erase all events of one subject."""
    _, loaded = the_store(store)
    if subject is None:
        deleted = upkeep.purge_all(loaded.ledger.transaction, loaded.retention)
        say(f"deleted: {counted(deleted, 'row', 'rows')}")
        return
    with loaded.ledger.transaction() as transaction:
        events, gone = upkeep.erase(transaction, subject)
        what = f"{counted(events, 'event', 'events')} with {deliveries(gone)}"
        if not yes:
            fail(f"{what} would be erased; add --yes to do it")
    say(f"erased: {what}")
