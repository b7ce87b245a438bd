"""The command `whereupon`: one file for each of its commands."""

from __future__ import annotations

import click

from whereupon.cli import ledger, worker
from whereupon.cli.reporting import Failing


@click.group(cls=Failing, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="whereupon")
def main() -> None:
    """Domain events that are never lost: publish, deliver, and see who hears what."""


main.add_command(ledger.ledger)
main.add_command(worker.worker)

__all__ = ["main"]
