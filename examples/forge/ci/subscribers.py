"""What CI does when something happens elsewhere."""

import sqlite3

from forge.ci import services
from forge.git.events import CommitsPushed
from whereupon import subscriber


@subscriber(queue="ci", priority="high", atomic=True)
def create_pipeline(event: CommitsPushed, connection: sqlite3.Connection) -> None:
    """Create the pipeline of a push.

    The pipeline, the event about it and the end of this delivery commit together: exactly once.
    """
    services.create_pipeline(connection, event.push_id, event.ref, event.after)
