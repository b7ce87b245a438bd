"""Importing whereupon, against importing the modules of the standard library that it uses itself."""

from __future__ import annotations

import ast
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Container, Iterator
from pathlib import Path

from bench.disk import temporary_folder
from bench.lines import Line, at_most_seconds, at_most_times
from bench.rounds import shuffled
from bench.scale import Scale

_LOADED = """
import json, sys, whereupon
print(json.dumps({name: getattr(module, "__file__", None) for name, module in sys.modules.items()}))
"""
_TIMED = """
import time
started = time.perf_counter()
import {modules}
print(time.perf_counter() - started)
"""


def measure(scale: Scale) -> list[Line]:
    """Import each in fresh processes by turns."""
    modules = standard_modules()
    sources = {"ours": "whereupon", "standard": ", ".join(modules)}
    times: dict[str, list[float]] = {name: [] for name in sources}
    with temporary_folder() as folder:
        for source in sources.values():
            _import_time(source, folder)  # writes the byte code, reads the disk
        for name in shuffled(tuple(sources), max(scale.rounds_of(15), 3)):
            times[name].append(_import_time(sources[name], folder))
    ours, standard = (statistics.median(times[name]) for name in ("ours", "standard"))
    against = f"{len(modules)} stdlib modules"
    ratio = ours / standard
    return [
        Line(
            name="import whereupon",
            ours=ours,
            against=against,
            theirs=standard,
            ratio=ratio,
            note="against " + ", ".join(modules),
            details={"modules": modules, "times": times},
            goals=at_most_times(2, 1.6),
        ),
        Line(name="import whereupon, absolute", ours=ours, goals=at_most_seconds(0.060)),
    ]


def standard_modules() -> list[str]:
    """Find the modules of the standard library that whereupon's own files import when it is imported.

    Read from the files that `import whereupon` loads: imports at the top of each, without those that are
    only there for type checkers.
    """
    with temporary_folder() as folder:
        loaded: dict[str, str | None] = json.loads(_run(_LOADED, folder))
    own = [file for name, file in loaded.items() if file and name.partition(".")[0] == "whereupon"]
    found = {each for file in own for each in _imported(ast.parse(Path(file).read_bytes()), loaded)}
    return sorted(each for each in found if each.partition(".")[0] in sys.stdlib_module_names)


def _imported(module: ast.Module, loaded: Container[str]) -> Iterator[str]:
    for node in module.body:
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names if each.name in loaded)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module != "__future__":
            yield node.module
            below = (f"{node.module}.{each.name}" for each in node.names)
            yield from (name for name in below if name in loaded)


def _import_time(modules: str, byte_code: Path) -> float:
    return float(_run(_TIMED.format(modules=modules), byte_code))


def _run(code: str, byte_code: Path) -> str:
    """Run code in a fresh process; byte code is kept in a folder, whatever the environment says about it."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(byte_code)
    command = [sys.executable, "-c", code]
    finished = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return finished.stdout
