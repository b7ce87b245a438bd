"""Local workers beside the development server: they end with it, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from typing import Final

from whereupon.errors import LedgerMissing

_GRACE: Final = "2"  # seconds that running handlers get when the server reloads
_LOOK: Final = 1.0  # seconds between two looks whether the tables are there


def start_under_runserver(store: str) -> None:
    """Start workers in a process of their own if this is the process of `runserver` that serves."""
    is_serving = os.environ.get("RUN_MAIN") == "true" or "--noreload" in sys.argv
    if "runserver" in sys.argv[1:2] and is_serving:
        start(store)


def start(store: str) -> subprocess.Popen[bytes]:
    """Start workers that end when this process does, as the pipe to them breaks then."""
    environment = os.environ | {"PYTHONPATH": python_path()}
    environment.pop("RUN_MAIN", None)
    command = [sys.executable, "-m", __name__, store]
    return subprocess.Popen(command, stdin=subprocess.PIPE, env=environment)  # noqa: S603


def python_path() -> str:
    """Return what a child process must have on its path to import what this one can.

    That is what stands before the standard library: the folder of manage.py, and PYTHONPATH.
    """
    library = os.path.dirname(os.__file__)  # noqa: PTH120 - as it is written in sys.path
    own: list[str] = []
    for path in sys.path:
        if path == library or path.endswith(".zip"):
            break
        own.append(path or os.getcwd())  # noqa: PTH109 - a text
    return os.pathsep.join(dict.fromkeys(own))


def main(store_name: str) -> None:
    """Run workers until the process at the other end of standard input is gone."""
    from whereupon.cli import main as command
    from whereupon.loading import configure_logging, load_store

    threading.Thread(target=_end_with_parent, daemon=True).start()
    configure_logging("info")
    store = load_store(store_name)
    while True:
        try:
            store.ledger.connect().close()
            break
        except LedgerMissing:
            time.sleep(_LOOK)  # the developer is about to run migrate
    command(["worker", "--store", store_name, "--grace", _GRACE], prog_name="whereupon")


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main(sys.argv[1])
