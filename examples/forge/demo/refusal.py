"""An event that breaks its contract, and what its author is told."""

from typing import Any

from forge.git.events import CommitsPushed
from whereupon.errors import InvalidEvent


def refused() -> tuple[str, str]:
    """Make an event with mistakes in it; return the line of code and the text of its refusal."""
    mistaken: dict[str, Any] = {
        "push_id": "17", "ref": "main", "befor": "0" * 40, "after": "f" * 40, "commit_count": 0,
    }  # fmt: skip
    try:
        CommitsPushed(**mistaken)
    except InvalidEvent as refusal:
        given = ", ".join(f"{name}={_shown(value)}" for name, value in mistaken.items())
        return f"CommitsPushed({given})", str(refusal)
    raise AssertionError("the contract took an event with mistakes in it")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) < 12 else f"{text[:7]}…{text[-1]}"
