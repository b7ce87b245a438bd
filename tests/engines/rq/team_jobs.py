"""A job of the team's own, whose arguments are pickled as RQ does by default."""

from __future__ import annotations

from pathlib import Path


def greet(whom: object) -> str:
    """Return a greeting."""
    return f"hello {whom}"


class Trap:
    """What touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> object:
        """Have the file touched."""
        return Path.touch, (self.path,)
