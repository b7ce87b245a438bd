"""What all commands share: finding the store, exit codes, text or JSON."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from whereupon.errors import WhereuponError
from whereupon.failures import printable
from whereupon.loading import load_store, store_name

if TYPE_CHECKING:
    from whereupon.store import EventStore

FINDINGS = 1
"""The exit status of a command that found something wrong, or could not do its work."""
_F = TypeVar("_F", bound=Callable[..., Any])


class Failing(click.Group):
    """A group whose commands end with one readable error instead of a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; an error of whereupon is told and gives the exit status 1."""
        try:
            return super().invoke(ctx)
        except WhereuponError as error:
            fail(str(error))
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)


def fail(message: str) -> NoReturn:
    """Print an error and end with the exit status for findings."""
    click.echo("\n".join(map(printable, message.split("\n"))), err=True)
    sys.exit(FINDINGS)


def store_option(function: _F) -> _F:
    """Add `--store` to a command."""
    return click.option(
        "--store",
        "store",
        metavar="MODULE:NAME",
        help="The store, for example shop.event_store:store.",
    )(function)


def json_option(function: _F) -> _F:
    """Add `--json` to a command."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")(function)


def the_store(given: str | None) -> tuple[str, EventStore]:
    """Find and load the store; return its name too."""
    name = store_name(given)
    return name, load_store(name)


def print_json(data: Any) -> None:
    """Print a report for machines."""
    click.echo(json.dumps(data, indent=2, default=str))


def say(text: str = "") -> None:
    """Print a line, with whatever a terminal would act upon escaped."""
    click.echo("\n".join(map(printable, text.split("\n"))))


def counted(number: int, singular: str, plural: str) -> str:
    """Write a number with its noun."""
    return f"{number:,} {singular if number == 1 else plural}"


def deliveries(number: int) -> str:
    """Write a number of deliveries."""
    return counted(number, "delivery", "deliveries")


def print_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table: with rich on a terminal if it is there, else in plain columns."""
    cells = [[printable("" if cell is None else str(cell)) for cell in row] for row in rows]
    if sys.stdout.isatty() and find_spec("rich"):
        from whereupon.cli.rich_tables import print_rich_table

        print_rich_table(head, cells)
        return
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    for row in [list(head), *cells]:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo(line.rstrip())
