"""The oracle of the demo: it compares rows of the business, and trusts no counter of the ledger."""

import sqlite3
from dataclasses import dataclass
from typing import Final

from forge import database
from forge.event_store import store
from whereupon import Envelope

_OF = "SELECT json_extract(envelope, '$.data.{}') FROM whereupon_event WHERE name = '{}'"
_PARKED: Final = """
    SELECT json_extract(envelope, '$.data.pipeline_id') FROM whereupon_event AS event
    JOIN whereupon_delivery AS delivery ON delivery.event_id = event.id
    WHERE delivery.subscription = 'merge_requests.notify_reviewers:ci.pipeline_created'
        AND delivery.state = 'parked'
"""

LOST: Final = {
    "pushes without an event": f"""
        SELECT count(*) FROM git_push WHERE id NOT IN ({_OF.format("push_id", "git.commits_pushed")})
    """,
    "commits without an event": f"""
        SELECT count(*) FROM git_commit WHERE id NOT IN ({_OF.format("commit_id", "git.commit_added")})
    """,
    "pipelines without an event": f"""
        SELECT count(*) FROM ci_pipeline WHERE id NOT IN ({_OF.format("pipeline_id", "ci.pipeline_created")})
    """,
    "commits without a pipeline": """
        SELECT count(*) FROM git_commit WHERE push_id NOT IN (SELECT push_id FROM ci_pipeline)
    """,
    "commits that search does not find": """
        SELECT count(*) FROM git_commit WHERE id NOT IN (SELECT commit_id FROM search_entry)
    """,
    "authors who are not suggested": """
        SELECT count(DISTINCT author) FROM git_commit
        WHERE author NOT IN (SELECT author FROM search_suggestion)
    """,
    "authors who are not welcomed": """
        SELECT count(DISTINCT author) FROM git_commit
        WHERE author NOT IN (SELECT author FROM onboarding_welcome)
    """,
    "branches whose merge request does not show the newest pipeline": """
        SELECT count(*) FROM (
            SELECT ref, max(id) AS newest FROM ci_pipeline WHERE ref <> 'refs/heads/main' GROUP BY ref
        ) WHERE newest NOT IN (SELECT head_pipeline_id FROM merge_requests_merge_request AS own
            WHERE own.ref = ref)
    """,
    "pipelines without a mail, sent or parked": f"""
        SELECT count(*) FROM ci_pipeline
        WHERE id NOT IN (SELECT pipeline_id FROM merge_requests_mail) AND id NOT IN ({_PARKED})
    """,
}
"""What must be there if nothing was lost, each as a count of what is missing."""

TWICE: Final = {
    "pipelines made again": "SELECT count(*) - count(DISTINCT push_id) FROM ci_pipeline",
    "commits indexed again": "SELECT count(*) - count(DISTINCT commit_id) FROM search_entry",
    "mails sent again": "SELECT count(*) - count(DISTINCT pipeline_id) FROM merge_requests_mail",
}
"""What must be there once, each as a count of what is there too often."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the oracle found: how much there is, what is missing, and what is there too often."""

    events: int
    deliveries: int
    lost: dict[str, int]
    twice: dict[str, int]


def judge() -> Verdict:
    """Compare what happened with what should have."""
    with database.transaction() as connection:
        lost = _found(connection, LOST)
        if unfinished := _unfinished_deliveries(connection):
            lost["deliveries that are neither done nor parked"] = unfinished
        return Verdict(
            events=_count(connection, "SELECT count(*) FROM whereupon_event"),
            deliveries=_count(connection, "SELECT count(*) FROM whereupon_delivery"),
            lost=lost,
            twice=_found(connection, TWICE),
        )


def _found(connection: sqlite3.Connection, checks: dict[str, str]) -> dict[str, int]:
    counts = {name: _count(connection, sql) for name, sql in checks.items()}
    return {name: count for name, count in counts.items() if count}


def _count(connection: sqlite3.Connection, sql: str) -> int:
    count: int = connection.execute(sql).fetchone()[0]
    return count


def _unfinished_deliveries(connection: sqlite3.Connection) -> int:
    """Plan every event once more, and count the subscriptions that have not finished with it."""
    sql = "SELECT event_id, subscription FROM whereupon_delivery WHERE state IN ('done', 'parked')"
    finished = set(connection.execute(sql))
    missing = 0
    for (text,) in connection.execute("SELECT envelope FROM whereupon_event"):
        envelope = Envelope.from_json(text.encode())
        event = store.routes.by_name[envelope.type](**envelope.data)
        due = {(envelope.id, subscription.id) for subscription in store.plan(event).subscriptions}
        missing += len(due - finished)
    return missing
