"""The table on the terminal and the JSON beside it."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from bench.lines import Goal, Line, written

RESULTS = Path(__file__).parent / "results"
_HEAD = ("row", "ours", "against", "theirs", "ratio", "at least", "aim")
_PEERS = (
    "django", "django-outbox-pattern", "huey", "jsonschema", "jsonschema-rs", "msgspec", "psycopg",
    "whereupon",
)  # fmt: skip


def table(lines: Sequence[Line]) -> str:
    """Write all lines as plain columns, and their notes below."""
    cells = [_HEAD, *map(_cells, lines)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    rows = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]
    rule = "  ".join("-" * width for width in widths)
    notes = [f"  {line.name}: {line.note}" for line in lines if line.note]
    return "\n".join([rows[0], rule, *rows[1:], *(["", "notes", *notes] if notes else [])])


def summary(lines: Iterable[Line]) -> str:
    """Count the goals that are reached, and name those that are not."""
    parts: list[str] = []
    for title, name in (("at least", "at_least"), ("aim", "aim")):
        verdicts = {line.name: verdict for line in lines if (verdict := _verdict(line, name)) is not None}
        missed = [each for each, verdict in verdicts.items() if not verdict]
        parts.append(
            f"{title}: {len(verdicts) - len(missed)} of {len(verdicts)} reached"
            + (f"; missed: {'; '.join(missed)}" if missed else "")
        )
    return "\n".join(parts)


def write_json(path: Path, lines: Iterable[Line], failed: Iterable[str], run: Mapping[str, Any]) -> None:
    """Write everything that was measured, with what it was measured on and how."""
    document = {
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "run": dict(run),
        "machine": _machine(),
        "failed": list(failed),
        "lines": [_as_json(line) for line in lines],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def default_path() -> Path:
    """Return where the results of this run go when the command line does not say."""
    return RESULTS / f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%S}.json"


def _cells(line: Line) -> tuple[str, ...]:
    return (
        line.name,
        written(line.ours, line.kind),
        line.against,
        "" if line.theirs is None else written(line.theirs, line.kind),
        "" if line.ratio is None else written(line.ratio, "times"),
        _goal_cell(line, line.goals.at_least),
        _goal_cell(line, line.goals.aim),
    )


def _goal_cell(line: Line, goal: Goal | None) -> str:
    verdict = line.is_reached(goal)
    return "" if verdict is None else f"{goal} {'yes' if verdict else 'NO'}"


def _verdict(line: Line, name: str) -> bool | None:
    return line.is_reached(getattr(line.goals, name))


def _as_json(line: Line) -> dict[str, Any]:
    reached = {name: _verdict(line, name) for name in ("at_least", "aim")}
    return asdict(line) | {"reached": reached}


def _machine() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "sqlite": sqlite3.sqlite_version,
        "packages": {name: version for name in _PEERS if (version := _version(name))},
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
