"""The table of CI. Nothing in it keeps a push from having two pipelines: the atomic subscriber does."""

from typing import Final

TABLES: Final = (
    """
    CREATE TABLE IF NOT EXISTS ci_pipeline (
        id INTEGER PRIMARY KEY,
        push_id INTEGER NOT NULL,
        ref TEXT NOT NULL,
        commit_id TEXT NOT NULL
    )
    """,
)
