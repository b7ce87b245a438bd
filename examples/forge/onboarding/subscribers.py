"""What onboarding does when something happens elsewhere."""

import sqlite3

from forge.git.events import CommitsPushed
from forge.onboarding import services
from whereupon import IGNORED, subscriber
from whereupon.outcomes import Ignored


@subscriber(queue="onboarding", priority="low", atomic=True)
def welcome_authors(event: CommitsPushed, connection: sqlite3.Connection) -> Ignored | None:
    """Welcome the authors of a push, or say that all of them are known."""
    welcomed = [services.welcome(connection, author, event.push_id) for author in event.authors]
    return None if any(welcomed) else IGNORED
