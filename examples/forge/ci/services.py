"""What can be done with CI: create a pipeline."""

import sqlite3

from forge.ci.events import PipelineCreated
from whereupon import publish


def create_pipeline(connection: sqlite3.Connection, push_id: int, ref: str, commit_id: str) -> int:
    """Store a pipeline and publish that it was created, in the caller's transaction; return its id."""
    sql = "INSERT INTO ci_pipeline (push_id, ref, commit_id) VALUES (?, ?, ?) RETURNING id"
    pipeline_id: int = connection.execute(sql, [push_id, ref, commit_id]).fetchone()[0]
    publish(PipelineCreated(pipeline_id=pipeline_id, ref=ref, commit_id=commit_id), on=connection)
    return pipeline_id
