"""Progress: a bar with rich, an updating line without it, plain lines in a pipe."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

Show = Callable[[int, int], None]
"""Takes how much is done, and of how much."""


@contextmanager
def progress(title: str) -> Iterator[Show]:
    """Show how far something has come, in whichever way the output allows."""
    if not sys.stdout.isatty():
        yield _plain_lines(title)
        return
    try:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    except ImportError:
        yield lambda done, total: click.echo(f"\r  {title}: {done:,} of {total:,} ", nl=False)
        click.echo()
        return
    with Progress(TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn()) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _plain_lines(title: str) -> Show:
    """Print a line each time that another quarter is reached."""
    reached = 0

    def show(done: int, total: int) -> None:
        nonlocal reached
        quarter = 4 * done // total if total else 0
        if quarter > reached:
            reached = quarter
            click.echo(f"  {title}: {done:,} of {total:,}")

    return show
