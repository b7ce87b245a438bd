"""How much is measured: all of it, or just enough to see that it works."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    """What the command line asks for; `rounds` goes before what a row would do by itself."""

    rounds: int | None = None
    is_quick: bool = False

    def rounds_of(self, usual: int) -> int:
        """Return how many rounds a row runs."""
        if self.rounds is not None:
            return self.rounds
        return max(1, usual // 4) if self.is_quick else usual

    def size(self, usual: int, quick: int) -> int:
        """Return how many events, seconds or samples a row takes."""
        return quick if self.is_quick else usual
