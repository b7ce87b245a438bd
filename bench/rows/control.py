"""The control: what one flush of this disk costs."""

from __future__ import annotations

import statistics

from bench.disk import flush_times, temporary_folder
from bench.lines import Line
from bench.rounds import percentile
from bench.scale import Scale
from whereupon.ledger.sqlite_build import file_system_of


def measure(scale: Scale) -> list[Line]:
    """Time `fdatasync` behind 4 KiB that were appended."""
    with temporary_folder() as folder:
        times = flush_times(folder, scale.size(500, 50))
        kind = file_system_of(folder)
    tail = percentile(times, 0.99)
    return [
        Line(
            name="control: fdatasync of 4 KiB",
            ours=statistics.median(times),
            note=f"on {kind or 'an unknown file system'}, p99 {tail * 1e3:.2f} ms",
            details={"p99": tail, "samples": len(times), "file_system": kind},
        )
    ]
