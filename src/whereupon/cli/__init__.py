"""The command `whereupon`: one file for each of its commands."""

from __future__ import annotations

import click

from whereupon.cli.demo import demo
from whereupon.cli.doctor import doctor
from whereupon.cli.explain import explain
from whereupon.cli.ledger import ledger
from whereupon.cli.list import list_
from whereupon.cli.parked import parked
from whereupon.cli.relay import relay
from whereupon.cli.replay import replay
from whereupon.cli.reporting import Failing
from whereupon.cli.show import show
from whereupon.cli.status import status
from whereupon.cli.why import why
from whereupon.cli.worker import worker


@click.group(cls=Failing, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="whereupon")
def main() -> None:
    """Domain events that are never lost: publish, deliver, and see who hears what."""


for command in (demo, doctor, explain, ledger, list_, parked, relay, replay, show, status, why, worker):
    main.add_command(command)

__all__ = ["main"]
