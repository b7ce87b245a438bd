"""What onboarding hears."""

from datetime import timedelta

from forge.git.events import CommitsPushed
from forge.onboarding.subscribers import welcome_authors
from whereupon import subscribe

subscriptions = [
    subscribe(welcome_authors, to=CommitsPushed, delay=timedelta(seconds=1)),
]
