"""What happens in CI that other contexts may hear of."""

from forge.git.events import CommitId, Ref
from whereupon import Event


class PipelineCreated(Event):
    """A CI pipeline was created for the newest commit of a push."""

    pipeline_id: int
    ref: Ref
    commit_id: CommitId
