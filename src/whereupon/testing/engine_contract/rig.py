"""Workers of an engine, started and killed as cases ask for it, and what their log says."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from whereupon.ledger import reports
from whereupon.publishing import publish_many
from whereupon.testing.engine_contract.app import FOLDER, Line, read_log
from whereupon.testing.recording import using_store

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from typing import Self

    from whereupon.events import Event
    from whereupon.ledger_protocol import Record
    from whereupon.testing.engine_contract.kinds import Kind

REPORT: Final = "WHEREUPON_CONTRACT_REPORT"
"""The variable that names a file for the times to redelivery."""
QUIET: Final = 3.0
"""Seconds without a line in the log after which all is done, in handoff: more than any delay of the kit."""
_PATIENCE: Final = 30.0
_HELPER: Final = "whereupon.engines.helper"


class Rig:
    """One engine with its workers. A context manager, which ends whatever is left of them.

    `redelivered` notes how many seconds after a death the delivery was started again, by who died. Where
    `WHEREUPON_CONTRACT_REPORT` names a file, that is added to it at the end, a line each. `transaction` gives
    what is passed as `on=`, where the store does not publish without.
    """

    def __init__(
        self, kind: Kind, transaction: Callable[[], AbstractContextManager[Any]] = nullcontext
    ) -> None:
        self.kind = kind
        self._transaction = transaction
        self.workers: list[subprocess.Popen[bytes]] = []
        self.redelivered: dict[str, float] = {}
        self._numbers = itertools.count(1)
        (kind.folder / "log").touch()
        os.environ[FOLDER] = str(kind.folder)
        self.store = kind.store
        self._swap = using_store(self.store)

    def __enter__(self) -> Self:
        self._swap.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.end_workers()
        if report := os.environ.get(REPORT):
            with Path(report).open("a", encoding="utf-8") as file:
                for who, seconds in self.redelivered.items():
                    print(f"{self.kind.name}\t{who} is killed\t{seconds:.2f} s", file=file)
        self._swap.__exit__(None, None, None)

    def number(self) -> int:
        """Return a number that no event has had yet."""
        return next(self._numbers)

    def publish(self, *events: Event) -> None:
        """Publish events together, in a transaction of the application's if it needs one."""
        with self._transaction() as on:
            publish_many(events, on=on)

    def write(self, records: Sequence[Record]) -> None:
        """Write what a store has made of events, or what was forged of it, as `publish` does."""
        with self._transaction() as on:
            self.store.ledger.write(records, on, strict=self.store.strict)

    def at_least(self, count: int) -> None:
        """Start workers until so many are running, and wait until they take jobs."""
        started = [self._start() for _ in range(count - len(self.running()))]
        for output in started:
            self.until(lambda output=output: self.kind.is_ready(output.read_text(errors="replace")))  # type: ignore[misc]

    def _start(self) -> Path:
        """Start one more worker and return the file that it prints into."""
        number = len(self.workers)
        output = self._output(number)
        path = os.pathsep.join(filter(None, map(os.path.abspath, sys.path)))
        own = {FOLDER: str(self.kind.folder), "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
        with output.open("wb") as file:
            worker = subprocess.Popen(  # noqa: S603 - the command of the kind
                self.kind.command(number), env=os.environ | self.kind.environment | own, cwd=self.kind.folder,
                stdout=file, stderr=file, start_new_session=True,
            )  # fmt: skip
        self.workers.append(worker)
        return output

    def running(self) -> list[subprocess.Popen[bytes]]:
        """Return the workers that have not ended."""
        return [each for each in self.workers if each.poll() is None]

    def _output(self, number: int) -> Path:
        return self.kind.folder / f"worker-{number}.log"

    def output(self) -> str:
        """Return what all workers have printed."""
        return "".join(
            self._output(number).read_text(errors="replace") for number in range(len(self.workers))
        )

    def log(self) -> list[Line]:
        """Return what the subscribers have written."""
        return read_log(self.kind.folder)

    def count(self, word: str, name: str) -> Counter[int]:
        """Count the lines of a kind, by the number of the event."""
        return Counter(line.number for line in self.log() if line[:2] == (word, name))

    def moments(self, word: str, name: str, number: int) -> list[float]:
        """Return when a subscriber has written such a line, on the monotonic clock."""
        return [line.moment for line in self.log() if line[:3] == (word, name, number)]

    def unfinished(self) -> int:
        """Return how many deliveries are neither done nor parked."""
        with self.store.ledger.reading() as transaction:
            return reports.unfinished(transaction)

    def until_quiet(self, seconds: float = _PATIENCE) -> None:
        """Wait until each delivery is done or parked; without a ledger until nobody writes any more."""
        if self.store.is_tracked:
            self.until(lambda: self.unfinished() == 0, seconds)
            return
        called = time.time()
        log = self.kind.folder / "log"
        self.until(lambda: time.time() - max(called, log.stat().st_mtime) > QUIET, seconds)

    def parked(self) -> list[str]:
        """Return why deliveries are parked; there is nothing to be read without a ledger."""
        if not self.store.is_tracked:
            return []
        with self.store.ledger.reading() as transaction:
            return sorted(str(each.outcome) for each in reports.parked(transaction))

    def until(self, condition: Callable[[], object], seconds: float = _PATIENCE) -> None:
        """Wait until something holds. Raises AssertionError, with what the workers have printed."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {seconds} s\n{self.output()[-6000:]}\n{self.log()[-20:]}")
            time.sleep(0.02)

    def helpers(self) -> list[int]:
        """Return the pids of the helper processes of these workers."""
        return [int(each.name) for each in Path("/proc").glob("[0-9]*") if self._is_helper(each)]

    def _is_helper(self, process: Path) -> bool:
        try:
            is_helper = f"{_HELPER}\0{self.kind.store_name}\0" in (process / "cmdline").read_text()
            return is_helper and (process / "cwd").readlink() == self.kind.folder
        except (OSError, UnicodeDecodeError):  # it has ended meanwhile
            return False

    def helper_of(self, pid: int) -> int:
        """Return the helper process of the worker that a process belongs to."""
        family, parents = self._family(self.owner(pid)), _parents()
        return next(each for each in self.helpers() if parents[each] in family)

    def owner(self, pid: int) -> subprocess.Popen[bytes]:
        """Return the worker that a process belongs to."""
        return next(each for each in self.running() if pid in self._family(each))

    def _family(self, worker: subprocess.Popen[bytes]) -> list[int]:
        """Return a worker's process and all below it, but for its helper."""
        parents = _parents()
        family = [worker.pid]
        for pid in family:
            family += [child for child, parent in parents.items() if parent == pid]
        helpers = self.helpers()
        return [pid for pid in family if pid not in helpers]

    def kill(self, worker: subprocess.Popen[bytes]) -> None:
        """Kill a worker with all its processes, but not its helper."""
        for pid in self._family(worker):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        worker.wait()

    def end_workers(self) -> None:
        """Kill all workers and their helpers."""
        for worker in self.running():
            self.kill(worker)
        for pid in self.helpers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _parents() -> dict[int, int]:
    """Return the parent of each process of this machine."""
    found: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            found[int(stat.parent.name)] = int(stat.read_text(errors="replace").rpartition(")")[2].split()[1])
    return found
