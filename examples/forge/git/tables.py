"""The tables of git."""

from typing import Final

TABLES: Final = (
    """
    CREATE TABLE IF NOT EXISTS git_push (
        id INTEGER PRIMARY KEY,
        ref TEXT NOT NULL,
        before TEXT NOT NULL,
        after TEXT NOT NULL
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS git_commit (
        id TEXT NOT NULL PRIMARY KEY,
        push_id INTEGER NOT NULL,
        author TEXT NOT NULL,
        title TEXT NOT NULL,
        changed_paths INTEGER NOT NULL
    )
    """,
)
