"""What merge requests do when something happens elsewhere."""

from datetime import timedelta

from forge import database
from forge.ci.events import PipelineCreated
from forge.merge_requests import mail, services
from whereupon import Envelope, subscriber


@subscriber(queue="merge_requests", priority="high", max_attempts=10)
def update_head_pipeline(event: PipelineCreated) -> None:
    """Let the merge request of a branch show its newest pipeline. Handled twice, it does nothing new."""
    with database.transaction() as connection:
        services.set_head_pipeline(connection, event.ref, event.pipeline_id)


@subscriber(queue="mail", max_attempts=3, backoff=timedelta(milliseconds=100))
def notify_reviewers(event: PipelineCreated, envelope: Envelope) -> None:
    """Tell the reviewers about a pipeline.

    The id of the event is the id of the message: handled twice, it is one mail. A mail that is refused
    three times is parked, where somebody can see it and try it again.
    """
    with database.transaction() as connection:
        mail.send(connection, envelope.id, event.pipeline_id)
