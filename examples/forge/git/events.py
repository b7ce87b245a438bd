"""What happens in git that other contexts may hear of."""

from typing import Annotated, Final

from whereupon import Event, Meta

DEFAULT_BRANCH: Final = "refs/heads/main"
NO_COMMIT: Final = "0" * 40
"""What `before` holds when a push has created its branch."""

CommitId = Annotated[str, Meta(pattern="^[0-9a-f]{40,64}$")]
Ref = Annotated[str, Meta(pattern="^refs/", max_length=255)]
Author = Annotated[str, Meta(pattern="^[a-z0-9-]{1,64}$")]


class CommitsPushed(Event):
    """Consecutive commits were pushed to a branch."""

    push_id: int
    ref: Ref
    before: CommitId
    after: CommitId
    commit_count: Annotated[int, Meta(ge=1)]
    authors: Annotated[tuple[Author, ...], Meta(min_length=1)]
    changed_paths: Annotated[int, Meta(ge=0)] = 0


class CommitAdded(Event):
    """A commit has reached the repository for the first time."""

    push_id: int
    commit_id: CommitId
    author: Author
    title: Annotated[str, Meta(max_length=200)]
