"""The worker of the demo: a process of its own, to be started, killed and started again."""

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

import forge
from forge import engines
from forge.event_store import store
from whereupon.ledger import rescue

_PATIENCE: Final = 30.0
_LINES: Final = 20  # how much of the log is shown when something is wrong


class WorkerTrouble(Exception):
    """The worker does not do what it should; the text says what happened."""


class Worker:
    """One worker, local or of an engine: a parent and the child that it starts. Their log goes to a file."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "worker.log"
        self._folder = folder
        self._parent: subprocess.Popen[bytes] | None = None
        self._others: frozenset[str] = frozenset()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> int:
        """Start it, wait until it can claim, and return the id of the parent. Raises `WorkerTrouble`.

        One of an engine becomes known with its first delivery only, so nobody waits for it.
        """
        self._others = frozenset(_known_workers())
        with self.log.open("ab") as log:
            self._parent = subprocess.Popen(
                engines.command(),
                cwd=self._folder,
                env=os.environ | {"PYTHONPATH": _python_path()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + _PATIENCE
        while store.engine is None and not self._children():
            self.check()
            if time.monotonic() > deadline:
                raise WorkerTrouble(f"the worker was not ready after {_PATIENCE:.0f} seconds")
            time.sleep(0.02)
        return self._parent.pid

    def check(self) -> None:
        """Raise `WorkerTrouble` when the worker has ended by itself."""
        code = self._parent.poll() if self._parent else None
        if code is not None:
            raise WorkerTrouble(f"the worker ended by itself with status {code}")

    def kill(self) -> list[int]:
        """Send SIGKILL to the parent and its children, so that nothing is handed back; return their ids."""
        if self._parent is None or self._parent.poll() is not None:
            return []
        children: list[int] = []
        try:
            children = self._children()
        finally:
            for pid in (self._parent.pid, *children):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._parent.wait()
        return [self._parent.pid, *children]

    def stop(self) -> None:
        """Send SIGTERM, which lets running handlers finish. Raises `WorkerTrouble`."""
        if self._parent is None:
            return
        self._parent.send_signal(signal.SIGTERM)
        try:
            code = self._parent.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            raise WorkerTrouble(f"the worker did not stop within {_PATIENCE:.0f} seconds") from None
        if code:
            raise WorkerTrouble(f"the worker stopped with status {code}")

    def last_lines(self) -> list[str]:
        """Return the end of the log, if there is one, with a line before it that says so."""
        if not self.log.exists():
            return []
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return ["Its log ends with:", *lines[-_LINES:]]

    def _children(self) -> list[int]:
        """Return the processes that have made themselves known to the ledger since the start."""
        return [pid for identity, pid in _known_workers().items() if identity not in self._others]


def _known_workers() -> dict[str, int]:
    with store.ledger.reading() as transaction:
        return {each.id: each.pid for each in rescue.processes(transaction)}


def _python_path() -> str:
    """Return the folder of this application, and what is on the path already, all absolute."""
    inherited = [Path(each) for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each]
    paths = [Path(forge.__file__).parents[1], *inherited]
    return os.pathsep.join(str(each.absolute()) for each in paths)
