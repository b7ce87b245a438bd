"""What merge requests hear."""

from forge.ci.events import PipelineCreated
from forge.git.events import DEFAULT_BRANCH
from forge.merge_requests.subscribers import notify_reviewers, update_head_pipeline
from whereupon import subscribe

subscriptions = [
    subscribe(update_head_pipeline, to=PipelineCreated, when=lambda event: event.ref != DEFAULT_BRANCH),
    subscribe(notify_reviewers, to=PipelineCreated),
]
