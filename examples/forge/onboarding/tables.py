"""The table of onboarding."""

from typing import Final

TABLES: Final = (
    """
    CREATE TABLE IF NOT EXISTS onboarding_welcome (
        author TEXT NOT NULL PRIMARY KEY,
        push_id INTEGER NOT NULL
    )
    """,
)
