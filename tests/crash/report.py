"""The verdict on a run, and the figures beside it."""

from __future__ import annotations

import sqlite3
from collections import Counter
from typing import TYPE_CHECKING, Final

from tests.crash.oracle import ACK, INTENT, ROLLED_BACK

if TYPE_CHECKING:
    from tests.crash.checker import Breach
    from tests.crash.evidence import Evidence

_SHOWN: Final = 8


def table(evidence: Evidence) -> str:
    """Return what happened and what became of it, as a table of two columns."""
    kinds = Counter((hit.kind, hit.role) for hit in evidence.hits)
    fates = Counter(map(evidence.fate, evidence.expected))
    acked, rolled_back = evidence.orders(ACK), evidence.orders(ROLLED_BACK)
    unknown = evidence.orders(INTENT) - acked - rolled_back
    committed = unknown & set(evidence.business)
    again = sum(map(len, evidence.starts.values())) - len(evidence.starts)
    closers = {(*each.delivery, each.pid) for each in evidence.closes}
    refused = {(*delivery, end.pid) for delivery, ends in evidence.ends.items() for end in ends} - closers
    orders = f"{len(acked)} acked, {len(rolled_back)} rolled back, {len(unknown)} unknown"
    rows = [
        *((f"SIG{kind}", _listed(kinds, kind)) for kind in ("KILL", "STOP")),
        ("orders", f"{orders} ({len(committed)} of them had committed)"),
        ("deliveries", ", ".join(f"{fates[fate]} {fate}" for fate in ("done", "parked", "open", "lost"))),
        ("handlers", f"{again} started again, {len(refused)} ended and did not close"),
        ("file", f"journal {evidence.journal}, SQLite {sqlite3.sqlite_version}, {evidence.integrity}"),
    ]
    return "\n".join(f"{name:<10}  {value}" for name, value in rows)


def _listed(kinds: Counter[tuple[str, str]], kind: str) -> str:
    found = [f"{count} {role}" for (each, role), count in sorted(kinds.items()) if each == kind]
    total = sum(count for (each, _), count in kinds.items() if each == kind)
    return f"{total}" + (f": {', '.join(found)}" if found else "")


def verdict(evidence: Evidence, breaches: list[Breach]) -> str:
    """Say in one line how it ended; below it what does not hold, with the first ids of each breach."""
    phantoms = {order for _, order in evidence.starts} - set(evidence.business)
    doubled = sum(count - 1 for count in evidence.effects.values())
    lines = [
        f"lost {len(evidence.of_fate('lost'))}, phantom {len(phantoms)}, double effects {doubled}: "
        + (f"{len(breaches)} BROKEN" if breaches else "every invariant holds")
    ]
    for each in breaches:
        lines.append(f"BROKEN {each.invariant}: {each.says} ({len(each.ids)})")
        lines += [f"    {identity}" for identity in each.ids[:_SHOWN]]
        if len(each.ids) > _SHOWN:
            lines.append(f"    and {len(each.ids) - _SHOWN} more")
    return "\n".join(lines)
