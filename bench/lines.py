"""Lines of the table: what was measured, against whom, and which goals it reaches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

Kind = Literal["times", "seconds", "rate", "share"]


def written(value: float, kind: Kind) -> str:
    """Write a figure with its unit, short enough for a column."""
    if kind == "times":
        return f"{value:.3g}×" if value < 1000 else f"{value:,.0f}×"
    if kind == "rate":
        return f"{value:,.0f}/s"
    if kind == "share":
        return f"{value:.1%}"
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value / 1e-9:.0f} ns"


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound for the ratio of a line, or for our own figure where `kind` is seconds."""

    bound: float
    kind: Kind = "times"
    at_most: bool = False

    def is_reached(self, value: float) -> bool:
        """Tell whether a value is on the right side of the bound."""
        return value <= self.bound if self.at_most else value >= self.bound

    def __str__(self) -> str:
        number = f"{self.bound:g}×" if self.kind == "times" else written(self.bound, self.kind)
        return f"{'≤' if self.at_most else '≥'} {number}"


@dataclass(frozen=True, slots=True)
class Goals:
    """What a line must not fall below, and what it is to become."""

    at_least: Goal | None = None
    aim: Goal | None = None


NO_GOALS: Final = Goals()


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the table.

    `ours` and `theirs` are seconds, rates or shares, as `kind` says. `ratio` is how many times better ours
    is, or how many times as long it takes where the goals are upper bounds. `details` go into the JSON only.
    """

    name: str
    ours: float
    kind: Kind = "seconds"
    against: str = ""
    theirs: float | None = None
    ratio: float | None = None
    goals: Goals = NO_GOALS
    note: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    def is_reached(self, goal: Goal | None) -> bool | None:
        """Tell whether a goal is reached; None where there is no goal."""
        if goal is None:
            return None
        value = self.ratio if goal.kind == "times" else self.ours
        return None if value is None else goal.is_reached(value)


def better_by(ours: float, theirs: float) -> float:
    """Return how many times faster ours is, both in seconds."""
    return theirs / ours


def at_least_times(floor: float, aim: float) -> Goals:
    """Return the two goals of a line whose ratio is to be large."""
    return Goals(Goal(floor), Goal(aim))


def at_most_times(floor: float, aim: float) -> Goals:
    """Return the two goals of a line whose ratio is to be small."""
    return Goals(Goal(floor, at_most=True), Goal(aim, at_most=True))


def at_most_seconds(floor: float, aim: float | None = None) -> Goals:
    """Return the goals of a line whose own time counts."""
    bounds = [None if each is None else Goal(each, "seconds", at_most=True) for each in (floor, aim)]
    return Goals(*bounds)
