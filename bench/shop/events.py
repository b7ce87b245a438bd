"""Events of three sizes, each with a hand-written twin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from whereupon import Event, Meta, SchemaEvent, contract_of
from whereupon.events import BaseEvent


class Author(msgspec.Struct, frozen=True):
    """Who pushed."""

    id: int
    name: str


class PipelineCreated(Event):
    """A pipeline was created: 2 fields."""

    pipeline_id: int
    ref: str | None = None


class PipelineFinished(Event):
    """A pipeline has finished: 12 fields."""

    pipeline_id: int
    project: Annotated[str, Meta(min_length=1, max_length=64)]
    ref: Annotated[str, Meta(max_length=255)]
    status: Literal["success", "failed", "canceled", "skipped"]
    author: Author
    job_ids: tuple[int, ...]
    title: Annotated[str, Meta(max_length=200)] = ""
    source: Literal["push", "web", "schedule"] = "push"
    coverage: float | None = None
    duration: Annotated[int, Meta(ge=0)] = 0
    is_protected: bool = False
    merge_request_id: int | None = None


class JobsListed(Event):
    """The jobs of a pipeline are known: one array of ints."""

    job_ids: tuple[int, ...]


class PipelineCreatedByHand(SchemaEvent, schema=contract_of(PipelineCreated).schema):
    """The twin of `PipelineCreated`."""


class PipelineFinishedByHand(SchemaEvent, schema=contract_of(PipelineFinished).schema):
    """The twin of `PipelineFinished`."""


class JobsListedByHand(SchemaEvent, schema=contract_of(JobsListed).schema):
    """The twin of `JobsListed`."""


class Sample:
    """One payload: what an event is made of, as Python values and as plain JSON data."""

    def __init__(
        self, title: str, event: type[Event], by_hand: type[SchemaEvent], values: Mapping[str, Any]
    ) -> None:
        self.title = title
        self.event = event
        self.by_hand = by_hand
        self.values = dict(values)
        self.plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self.values))

    def made(self) -> BaseEvent:
        """Make the event."""
        return self.event(**self.values)


SAMPLES = (
    Sample("2 fields", PipelineCreated, PipelineCreatedByHand, {"pipeline_id": 4711, "ref": "main"}),
    Sample(
        "12 fields",
        PipelineFinished,
        PipelineFinishedByHand,
        {
            "pipeline_id": 4711,
            "project": "shop/checkout",
            "ref": "refs/heads/main",
            "status": "failed",
            "author": Author(id=17, name="Ada Lovelace"),
            "job_ids": (101, 102, 103, 104, 105),
            "title": "Charge the card before the parcel leaves",
            "source": "web",
            "coverage": 93.25,
            "duration": 318,
            "is_protected": True,
            "merge_request_id": 12,
        },
    ),
    Sample("200 ints", JobsListed, JobsListedByHand, {"job_ids": tuple(range(1_000, 1_200))}),
)
