"""`whereupon worker`: run local workers."""

from __future__ import annotations

import sys

import click

from whereupon.cli.reporting import fail, store_option, the_store


@click.command()
@store_option
@click.option(
    "--processes",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Worker processes.",
)
@click.option(
    "--threads",
    type=click.IntRange(1, 256),
    default=10,
    show_default=True,
    help="Threads per process.",
)
@click.option(
    "--coroutines", type=click.IntRange(1, 10_000), default=100, show_default=True,
    help="Async handlers that run at once, per process.",
)  # fmt: skip
@click.option("--queues", metavar="NAME,NAME", default="", help="Serve these queues only.")
@click.option(
    "--grace", type=click.FloatRange(0, 3600), default=25.0, show_default=True, metavar="SECONDS",
    help="How long running handlers get when the worker is stopped.",
)  # fmt: skip
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
)
def worker(
    store: str | None,
    processes: int,
    threads: int,
    coroutines: int,
    queues: str,
    grace: float,
    log_level: str,
) -> None:
    """Handle deliveries until stopped.

    The first SIGTERM or SIGINT lets running handlers finish; a second one hands back at once.
    """
    from whereupon.engines.local.process import Settings
    from whereupon.engines.local.supervisor import Supervisor
    from whereupon.loading import configure_logging

    configure_logging(log_level)
    name, loaded = the_store(store)
    chosen = tuple(queue.strip() for queue in queues.split(",") if queue.strip())
    known = {each.subscriber.options.queue for each in loaded.routes}
    unknown = [queue for queue in chosen if queue not in known]
    if unknown:
        fail(f"no subscriber uses the queue {unknown[0]}; the queues are {', '.join(sorted(known))}")
    loaded.ledger.connect().close()
    settings = Settings("", threads, coroutines, chosen, grace)
    sys.exit(Supervisor(loaded, name, settings, processes, log_level).run())
