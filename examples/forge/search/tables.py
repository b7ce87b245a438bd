"""The tables of search, and those of the cluster which stands in for a real one."""

from typing import Final

TABLES: Final = (
    """
    CREATE TABLE IF NOT EXISTS search_entry (
        commit_id TEXT NOT NULL,
        author TEXT NOT NULL,
        title TEXT NOT NULL
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS search_suggestion (
        author TEXT NOT NULL PRIMARY KEY,
        newest_push_id INTEGER NOT NULL
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS search_cluster_try (
        push_id INTEGER NOT NULL PRIMARY KEY,
        tries INTEGER NOT NULL
    )
    """,
)
