"""The graph of a store as Mermaid text: publishing context → event → subscriber."""

from __future__ import annotations

from typing import TYPE_CHECKING

from whereupon.catalog.model import hearings
from whereupon.events import contract_of

if TYPE_CHECKING:
    from whereupon.store import EventStore


def mermaid(store: EventStore) -> str:
    """Draw who publishes what and who hears it; conditions and delays stand on the arrows."""
    lines = ["flowchart LR"]
    nodes: dict[str, str] = {}

    def node(text: str) -> str:
        return nodes.setdefault(text, f"n{len(nodes)}")

    for kind in store.routes.by_event:
        contract = contract_of(kind)
        lines.append(
            f"  {node(contract.context)}([{contract.context}]) --> {node(contract.name)}[[{contract.name}]]"
        )
    for each in hearings(store):
        notes = [f"when {each.condition}"] if each.condition else []
        notes += [f"after {each.delay:g} s"] if each.delay else []
        notes += [f"groups of {each.group_size}"] if each.group_size > 1 else []
        arrow = f'-. "{_escaped(", ".join(notes))}" .->' if notes else "-.->"
        name = each.subscription.partition(":")[0]
        lines.append(f"  {node(each.event)} {arrow} {node(name)}[{name}]")
    return "\n".join(lines)


def _escaped(text: str) -> str:
    """Write the characters that end a label or a tag as Mermaid's entities."""
    for character, entity in (("#", "#35;"), ('"', "#quot;"), ("<", "#lt;"), (">", "#gt;"), ("|", "#124;")):
        text = text.replace(character, entity)
    return text
