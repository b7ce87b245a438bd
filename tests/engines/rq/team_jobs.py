"""A job of the team's own, whose arguments are pickled as RQ does by default."""

from __future__ import annotations


def greet(whom: object) -> str:
    """Return a greeting."""
    return f"hello {whom}"
