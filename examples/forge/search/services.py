"""What can be done in search: index commits, suggest authors."""

import sqlite3
from collections.abc import Iterable

Entry = tuple[str, str, str]
"""The id, the author and the title of a commit."""


def index(connection: sqlite3.Connection, entries: Iterable[Entry]) -> None:
    """Add commits to the index."""
    connection.executemany("INSERT INTO search_entry (commit_id, author, title) VALUES (?, ?, ?)", entries)


def suggest(connection: sqlite3.Connection, author: str, push_id: int) -> None:
    """Suggest an author to those who search, the most recent first. Doing it twice changes nothing."""
    sql = """
        INSERT INTO search_suggestion (author, newest_push_id) VALUES (?, ?)
        ON CONFLICT (author) DO UPDATE SET newest_push_id = max(newest_push_id, excluded.newest_push_id)
    """
    connection.execute(sql, [author, push_id])
