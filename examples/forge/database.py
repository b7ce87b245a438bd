"""The one database: each context has its own tables in it, and the ledger of whereupon has some too."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from whereupon import SQLiteLedger

PATH: Final = Path(os.environ.get("FORGE_DATABASE", "forge.sqlite3")).absolute()
LEDGER: Final = SQLiteLedger(PATH)


@contextmanager
def transaction() -> Iterator[sqlite3.Connection]:
    """Open a business transaction: it commits at the end, and rolls back on an exception.

    It begins IMMEDIATE, so that it waits for the write lock at its start and never in its middle.
    """
    with closing(sqlite3.connect(PATH, isolation_level=None)) as connection, connection:
        LEDGER.begin(connection)
        yield connection
