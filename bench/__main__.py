"""`python -m bench`: run the rows, print the table, write the JSON."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
import traceback
from pathlib import Path

from bench.lines import Line
from bench.peers import PeerMissing
from bench.report import default_path, summary, table, write_json
from bench.rows import ROWS
from bench.scale import Scale


def main(arguments: list[str] | None = None) -> int:
    """Measure what was asked for; return 1 when a row could not be measured, else 0."""
    options = _parser().parse_args(arguments)
    # a plain `kill` cleans up as Ctrl-C does
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    scale = Scale(options.rounds, options.quick)
    lines: list[Line] = []
    failed: list[str] = []
    load = [os.getloadavg()[0]]
    names = [name for name in ROWS if not options.only or name in options.only]
    try:
        for position, name in enumerate(names, 1):
            _say(f"[{position}/{len(names)}] {name} ...")
            measured = _measured(name, scale)
            lines += measured or []
            failed += [name] if measured is None else []
    except KeyboardInterrupt:
        _say("interrupted; nothing is left behind")
        return 130
    load.append(os.getloadavg()[0])
    path = options.json or default_path()
    write_json(path, lines, failed, {"rounds": options.rounds, "quick": options.quick, "load": load})
    print(f"{table(lines)}\n\n{summary(lines)}")
    print(f"load of the machine: {load[0]:.1f} at the start, {load[1]:.1f} at the end; written to {path}")
    sys.stdout.flush()
    if failed:
        print(f"could not be measured: {', '.join(failed)}")
    return 1 if failed else 0


def _measured(name: str, scale: Scale) -> list[Line] | None:
    """Run one row; None when it fails, with the reason on standard error."""
    started = time.monotonic()
    try:
        lines = ROWS[name](scale)
    except PeerMissing as missing:
        _say(f"      {name}: left out, as {missing}")
        return None
    except Exception:  # noqa: BLE001 - one row that fails must not hide the others
        traceback.print_exc()
        return None
    _say(f"      {name}: {len(lines)} lines in {time.monotonic() - started:.1f} s")
    return lines


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=_positive, metavar="N", help="rounds of every row")
    parser.add_argument("--only", action="append", choices=list(ROWS), metavar="NAME", help=", ".join(ROWS))
    parser.add_argument("--json", type=Path, metavar="PATH", help="where the results go")
    parser.add_argument("--quick", action="store_true", help="small sizes, few rounds: does it work at all?")
    return parser


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("takes a number from 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
