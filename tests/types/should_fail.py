"""What both type checkers must refuse: each line with a mark, and no other."""

from __future__ import annotations

from whereupon import Event, publish, subscribe, subscriber

# fmt: off


class Created(Event, name="ci.created"):
    number: int
    ref: str | None = None


class Other(Event, name="ci.other"):
    other: int = 0


def on_created(event: Created) -> None: ...
def on_list(events: list[Created]) -> None: ...


Created(number="1")  # refused: wrong type of a field
Created()  # refused: a required field is missing
Created(number=1, reff="main")  # refused: an unknown field
Created(1)  # refused: fields are keywords
Created(number=1).reff  # refused: an unknown attribute
Created(number=1).number = 2  # refused: an event is immutable
Created(number=1)["number"]  # refused: annotated events are read by attribute
subscribe(on_created, to=Other)  # refused: the handler takes another event
subscribe(on_created, to=[Created, Other])  # refused: the handler takes only one of them
subscribe(on_list, to=Other, group_size=5)  # refused: a list of another event
subscribe(on_created, to=Created, when=lambda event: event.reff)  # refused: unknown attribute in the condition
subscribe(on_created, to=Created, delay=5)  # refused: a delay is a timedelta
subscribe(on_created, to=Created, queue="mails")  # refused: how it works is said by @subscriber
subscriber(priority="urgent")  # refused: an unknown priority
subscriber(delay=3)  # refused: when it hears is said by subscribe()
publish(3)  # refused: not an event


class Misspelt(Event, nam="ci.misspelt"): ...  # refused: an unknown class keyword
