"""The tables of merge requests, and that of the mail service which stands in for a real one."""

from typing import Final

TABLES: Final = (
    """
    CREATE TABLE IF NOT EXISTS merge_requests_merge_request (
        ref TEXT NOT NULL PRIMARY KEY,
        head_pipeline_id INTEGER NOT NULL
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS merge_requests_mail (
        message_id TEXT NOT NULL PRIMARY KEY,
        pipeline_id INTEGER NOT NULL
    )
    """,
)
