"""What users write, and both type checkers accept."""

from __future__ import annotations

import sqlite3
from datetime import timedelta

from whereupon import (
    IGNORED,
    Envelope,
    Event,
    EventStore,
    SchemaEvent,
    SQLiteLedger,
    contract_of,
    payload_of,
    publish,
    subscribe,
    subscriber,
)


class CiEvent(Event, context="ci", abstract=True):
    project_id: int

    def is_of(self, project: int) -> bool:
        return self.project_id == project


class PipelineCreated(CiEvent, aliases=["ci.pipeline_made"]):
    """A CI pipeline was created for a ref."""

    pipeline_id: int
    ref: str | None = None
    merge_request_ids: tuple[int, ...] = ()
    name: str = ""
    id: int = 0
    data: str = ""
    schema: str = ""


class MergeRequestOpened(Event, name="merge_requests.opened"):
    merge_request_id: int


class Written(
    SchemaEvent, name="ci.written", schema={"type": "object", "properties": {"ref": {"type": "string"}}}
): ...


@subscriber
def bare(event: PipelineCreated) -> None: ...


@subscriber(queue="mails", priority="high", max_attempts=10, backoff=timedelta(minutes=1), park_on=[KeyError])
def configured(event: PipelineCreated, envelope: Envelope) -> object:
    return IGNORED if event.ref is None else envelope.id


@subscriber(atomic=True)
def atomic(event: PipelineCreated, connection: sqlite3.Connection) -> None: ...


@subscriber
async def coroutine(event: PipelineCreated) -> None: ...


def undecorated(event: PipelineCreated | MergeRequestOpened) -> None: ...
def of_any_event(event: Event) -> None: ...
def of_a_list(events: list[PipelineCreated]) -> None: ...
def of_a_list_of_both(events: list[PipelineCreated | MergeRequestOpened]) -> None: ...
def of_written(event: Written) -> None: ...


subscriptions = [
    subscribe(bare, to=PipelineCreated),
    subscribe(configured, to=PipelineCreated, when=lambda event: event.merge_request_ids),
    subscribe(configured, to=PipelineCreated, when=lambda event: event.is_of(7)),
    subscribe(atomic, to=PipelineCreated),
    subscribe(coroutine, to=PipelineCreated, delay=timedelta(minutes=1)),
    subscribe(undecorated, to=[PipelineCreated, MergeRequestOpened]),
    subscribe(undecorated, to=MergeRequestOpened, when=lambda event: event.merge_request_id > 3),
    subscribe(of_any_event, to=[PipelineCreated, MergeRequestOpened]),
    subscribe(of_a_list, to=PipelineCreated, group_size=25),
    subscribe(of_a_list_of_both, to=[PipelineCreated, MergeRequestOpened], group_size=25),
    subscribe(of_written, to=Written, when=lambda event: event["ref"]),
]
store = EventStore(subscriptions=subscriptions, ledger=SQLiteLedger("x.sqlite3"))

event = PipelineCreated(project_id=1, pipeline_id=2, ref="main", id=3, schema="s")
envelope: Envelope = publish(event)
bare(event)
number: int = event.pipeline_id
ref: str | None = event.ref
payload: dict[str, object] = payload_of(event)
fingerprint: str = contract_of(PipelineCreated).fingerprint
written = Written({"ref": "main"})
Written(ref="main")
text: str = written["ref"]
