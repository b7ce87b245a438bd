"""`python -m tests.crash`: hit, check, print the table; exit status 1 when an invariant is broken."""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from tests.crash.checker import check
from tests.crash.report import table, verdict
from tests.crash.rig import Plan, run


def main(arguments: list[str] | None = None) -> int:
    """Make a run; 0 when every invariant holds, 1 when one is broken, 2 where it cannot run."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if not Path("/proc/self/environ").exists():
        print("the rig finds its processes in /proc, which only Linux has", file=sys.stderr)
        return 2
    folder = Path(tempfile.mkdtemp(prefix="whereupon-crash-")).resolve()
    _say(f"seed {options.seed}, {options.rounds} rounds, journal {options.journal}, in {folder}")
    evidence = run(Plan(options.rounds, options.seed, options.journal), folder, _say)
    breaches = check(evidence)
    _say(f"\n{table(evidence)}\n{verdict(evidence, breaches)}")
    if breaches or options.keep:
        _say(f"the evidence is in {folder}")
    else:
        shutil.rmtree(folder)
    return int(bool(breaches))


def _say(text: str) -> None:
    print(text, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--rounds", type=int, default=100, help="how many hits (100)")
    parser.add_argument("--seed", type=int, default=random.randrange(10_000), help="of the schedule of hits")
    parser.add_argument("--journal", choices=("auto", "wal"), default="auto", help="of the SQLite file")
    parser.add_argument("--keep", action="store_true", help="keep the evidence of a sound run too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
