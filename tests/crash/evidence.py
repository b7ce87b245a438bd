"""The evidence of one run, gathered from its folder when every process has ended."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Final, Literal

from tests.crash import database, hits, oracle
from tests.crash.database import Closed, Stored
from tests.crash.oracle import ACK, DONE, START, Line

if TYPE_CHECKING:
    from pathlib import Path

    from tests.crash.hits import Hit

Delivery = tuple[str, str]
"""A subscription and an order."""
Fate = Literal["done", "open", "parked", "lost"]

PLACED: Final = ("plain", "slow", "coroutine", "atomic")
"""Who hears that an order was placed."""
RECEIPT: Final = "receipt"
"""Who hears that an order was billed."""
EFFECTIVE: Final = "atomic"
"""The subscriber whose effect is a row."""


@dataclass
class Evidence:
    """The log, the hits and the rows of one run.

    `complaints` are what processes said or did that nobody had asked for, and `left` is what was alive when
    all had been stopped.
    """

    lines: list[Line] = field(default_factory=list)
    hits: list[Hit] = field(default_factory=list)
    business: Counter[str] = field(default_factory=Counter)
    placed: Counter[str] = field(default_factory=Counter)
    billed: Counter[str] = field(default_factory=Counter)
    effects: Counter[str] = field(default_factory=Counter)
    deliveries: list[Stored] = field(default_factory=list)
    closes: list[Closed] = field(default_factory=list)
    claims: list[tuple[str, str, int]] = field(default_factory=list)
    workers: int = 0
    integrity: str = "ok"
    journal: str = ""
    left: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def orders(self, word: str) -> set[str]:
        """Return the orders of all lines with this word."""
        return {line.order for line in self.lines if line.word == word}

    def of_word(self, word: str) -> dict[Delivery, list[Line]]:
        """Return the lines of handlers with this word, by delivery."""
        found: dict[Delivery, list[Line]] = defaultdict(list)
        for line in self.lines:
            if line.word == word:
                found[line.delivery].append(line)
        return found

    @cached_property
    def starts(self) -> dict[Delivery, list[Line]]:
        """The starts of each delivery, in the order of their times."""
        return self.of_word(START)

    @cached_property
    def ends(self) -> dict[Delivery, list[Line]]:
        """The ends of each delivery, in the order of their times."""
        return self.of_word(DONE)

    @cached_property
    def claimants(self) -> dict[Delivery, set[int]]:
        """The processes that have ever held each delivery."""
        found: dict[Delivery, set[int]] = defaultdict(set)
        for subscription, order, pid in self.claims:
            found[subscription, order].add(pid)
        return found

    @cached_property
    def states(self) -> dict[Delivery, str]:
        """The state of each delivery in the ledger."""
        return {each.delivery: each.state for each in self.deliveries}

    @cached_property
    def expected(self) -> list[Delivery]:
        """What must be delivered: each committed order to all, each effect of the atomic one to the next."""
        orders = sorted(self.orders(ACK) | set(self.business))
        expected = [(subscription, order) for order in orders for subscription in PLACED]
        return expected + [(RECEIPT, order) for order in sorted(self.effects)]

    def fate(self, delivery: Delivery) -> Fate:
        """Tell what became of a delivery. An atomic one is done when its effect is in the database."""
        subscription, order = delivery
        state = self.states.get(delivery)
        is_done = self.effects[order] > 0 if subscription == EFFECTIVE else delivery in self.ends
        if is_done and state == "done":
            return "done"
        if state == "parked":
            return "parked"
        return "open" if state in ("open", "claimed") else "lost"

    def of_fate(self, fate: Fate) -> list[str]:
        """Return the expected deliveries of one fate."""
        return ["/".join(delivery) for delivery in self.expected if self.fate(delivery) == fate]


def gather(folder: Path, complaints: list[str], left: list[str]) -> Evidence:
    """Read the log, the hits, what processes printed, and the database."""
    tracebacks = [
        f"{output.name} has a traceback"
        for output in sorted(folder.glob("*.out"))
        if "Traceback" in output.read_text(encoding="utf-8", errors="replace")
    ]
    return Evidence(
        lines=oracle.read(folder / "oracle.log"),
        hits=hits.read(folder),
        complaints=complaints + tracebacks,
        left=left,
        **database.read(folder),
    )
