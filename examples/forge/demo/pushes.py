"""From commits to pushes: git keeps no record of pushes, so they are made up here, always the same way."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from forge.git.events import DEFAULT_BRANCH
from forge.git.services import Commit

MOST_COMMITS: Final = 8
"""How many commits one push has at most."""
_PUSHES: Final = 25  # a short history has smaller pushes, so that there are at least so many if it can be
_TO_DEFAULT: Final = 3  # each third push goes to the default branch, the others to one of their author


@dataclass(frozen=True, slots=True)
class Push:
    """Consecutive commits of one author, and the branch that they go to."""

    ref: str
    commits: tuple[Commit, ...]


def bundle(commits: Sequence[Commit]) -> list[Push]:
    """Bundle consecutive commits by the same author into pushes."""
    largest = max(1, min(MOST_COMMITS, len(commits) // _PUSHES))
    pushes: list[Push] = []
    for author, run in groupby(commits, key=lambda commit: commit.author):
        together = tuple(run)
        for start in range(0, len(together), largest):
            is_default = len(pushes) % _TO_DEFAULT == 0
            ref = DEFAULT_BRANCH if is_default else f"refs/heads/{author}"
            pushes.append(Push(ref, together[start : start + largest]))
    return pushes
