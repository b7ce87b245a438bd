"""What can be done with merge requests: move the head pipeline."""

import sqlite3


def set_head_pipeline(connection: sqlite3.Connection, ref: str, pipeline_id: int) -> None:
    """Note the newest pipeline of a branch; the first one opens the merge request.

    Pipelines may be heard of twice and in any order, so an older one never replaces a newer one.
    """
    sql = """
        INSERT INTO merge_requests_merge_request (ref, head_pipeline_id) VALUES (?, ?)
        ON CONFLICT (ref) DO UPDATE SET head_pipeline_id = max(head_pipeline_id, excluded.head_pipeline_id)
    """
    connection.execute(sql, [ref, pipeline_id])
