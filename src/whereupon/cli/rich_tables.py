"""Tables on a terminal, drawn by rich where it is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence


def print_rich_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table whose columns fit the terminal."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in head:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)
