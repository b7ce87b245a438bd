"""The graph of a store as Mermaid text: publishing context → event → subscriber."""

from __future__ import annotations

from typing import TYPE_CHECKING

from whereupon.catalog.model import Hearing, hearing_of
from whereupon.events import contract_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from whereupon.store import EventStore
    from whereupon.subscriptions import Subscription


def mermaid(store: EventStore) -> str:
    """Draw who publishes what and who hears it; conditions, delays and groups stand on the arrows."""
    lines = dict.fromkeys(line for subscription in store.routes for line in _lines(subscription))
    return "\n".join(["flowchart LR", *(f"    {line}" for line in lines)])


def _lines(subscription: Subscription) -> Iterator[str]:
    hearing = hearing_of(subscription)
    context = contract_of(subscription.event).context
    event, own = hearing.event.replace(".", "_"), f"{hearing.context}_{subscription.subscriber.name}"
    yield f'{context}(["{context}"]) --> {event}["{hearing.event}"]'
    label = _escaped(", ".join(_terms(hearing)))
    arrow = f'-- "{label}" -->' if label else "-->"
    yield f'{event} {arrow} {own}["{hearing.context}: {subscription.subscriber.name}"]'


def _terms(hearing: Hearing) -> Iterator[str]:
    if hearing.condition:
        yield f"when {hearing.condition}"
    if hearing.delay:
        yield f"after {hearing.delay:g} s"
    if hearing.group_size > 1:
        yield f"in groups of {hearing.group_size}"


def _escaped(text: str) -> str:
    """Write the characters that end a label or a tag as Mermaid's entities."""
    for character, entity in (("#", "#35;"), ('"', "#quot;"), ("<", "#lt;"), (">", "#gt;")):
        text = text.replace(character, entity)
    return text
