"""What search hears."""

from forge.git.events import CommitAdded, CommitsPushed
from forge.search.subscribers import index_commits, suggest_authors
from whereupon import subscribe

subscriptions = [
    subscribe(index_commits, to=CommitAdded, group_size=10),
    subscribe(suggest_authors, to=CommitsPushed),
]
