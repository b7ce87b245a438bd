"""`whereupon relay`: what helps the workers of an engine, run alone."""

from __future__ import annotations

import sys

import click

from whereupon.cli.reporting import fail, store_option, the_store


@click.command()
@store_option
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
)
def relay(store: str | None, log_level: str) -> None:
    """Tell the engine's workers of due deliveries, beat for those on this machine, rescue and purge.

    A worker of an engine brings this along by itself. Run it alone where workers must not start processes.
    """
    from whereupon.engines import helper
    from whereupon.loading import configure_logging

    configure_logging(log_level)
    name, loaded = the_store(store)
    if loaded.engine is None:
        fail(f"{name} has no engine to relay to\n  fix: run whereupon worker, or pass engine= to the store")
    loaded.ledger.connect().close()
    loaded.install()
    sys.exit(helper.relay(loaded, name, loaded.engine, log_level))
