"""What search does when something happens elsewhere."""

import sqlite3
from datetime import timedelta

from forge import database
from forge.git.events import CommitAdded, CommitsPushed
from forge.search import cluster, services
from whereupon import subscriber


@subscriber(queue="search", atomic=True)
def index_commits(events: list[CommitAdded], connection: sqlite3.Connection) -> None:
    """Index the commits of a push, many at a time: one call and one transaction for a whole group."""
    services.index(connection, [(event.commit_id, event.author, event.title) for event in events])


@subscriber(queue="search", priority="low", max_attempts=5, backoff=timedelta(milliseconds=200))
def suggest_authors(event: CommitsPushed) -> None:
    """Suggest the authors of a push. While the cluster is away, the delivery is tried again."""
    cluster.ping(event.push_id)
    with database.transaction() as connection:
        for author in event.authors:
            services.suggest(connection, author, event.push_id)
