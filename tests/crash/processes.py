"""The processes of one run: publishers and supervisors, started, told to stop, and never left behind.

They are known by the folder that their environment names. A process of its own, the keeper, waits for the end
of its input, which comes when the rig is gone, and kills whatever the rig could not.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final, Self

ROOT: Final = Path(__file__).parents[2]
STORE: Final = "tests.crash.app:store"
MARKER: Final = "CRASH_FOLDER"
"""The variable by which the processes of a run are known; its value is the folder of the run."""
_PATIENCE: Final = 45.0
"""Seconds for a process to end that was told to: more than the grace of `whereupon worker`."""


class Crew:
    """Starts the processes of the application in a folder; ends them all when the block is left."""

    def __init__(self, folder: Path, journal: str) -> None:
        self.folder = folder
        self.publishers: list[subprocess.Popen[bytes]] = []
        self.supervisors: list[subprocess.Popen[bytes]] = []
        self.complaints: list[str] = []
        self._count = 0
        self._environment = {
            # a process under coverage is not the one that runs in production
            **{name: value for name, value in os.environ.items() if not name.startswith("COV")},
            MARKER: str(folder),
            "CRASH_JOURNAL": journal,
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        }

    def __enter__(self) -> Self:
        self._keeper = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.processes", str(self.folder)],
            stdin=subprocess.PIPE, cwd=ROOT, start_new_session=True,
        )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        sweep(self.folder)
        for process in (*self.publishers, *self.supervisors):
            _forget(process)
        self._keeper.communicate()

    def run(self, *arguments: str) -> None:
        """Run a module of the application to its end."""
        done = subprocess.run(
            [sys.executable, "-m", *arguments], env=self._environment, cwd=self.folder, check=False,
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}")

    def add_publisher(self) -> None:
        """Start a publisher. It ends by itself when its input does."""
        self.publishers.append(self._start("publisher", "tests.crash.publisher"))

    def add_supervisor(self) -> None:
        """Start `whereupon worker`."""
        self.supervisors.append(self._start("worker", "whereupon", "worker", "--store", STORE))

    def _start(self, kind: str, *arguments: str) -> subprocess.Popen[bytes]:
        self._count += 1
        with (self.folder / f"{kind}-{self._count}.out").open("wb") as output:
            return subprocess.Popen(
                [sys.executable, "-m", *arguments], env=self._environment, cwd=self.folder,
                stdin=subprocess.PIPE, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip

    def reap(self) -> None:
        """Replace those that have ended; by SIGKILL it was a hit, otherwise it is a complaint."""
        for crew, add in ((self.publishers, self.add_publisher), (self.supervisors, self.add_supervisor)):
            for process in [each for each in crew if each.poll() is not None]:
                if process.returncode != -signal.SIGKILL:
                    self.complaints.append(f"{process.args} ended by itself with {process.returncode}")
                crew.remove(process)
                _forget(process)
                add()

    def stop_publishers(self) -> None:
        """End the input of all publishers and wait for them."""
        for process in self.publishers:
            assert process.stdin
            process.stdin.close()
        self._see_off(self.publishers)

    def stop_supervisors(self) -> None:
        """Send SIGTERM to all supervisors and wait for them and their workers."""
        for process in self.supervisors:
            process.terminate()
        self._see_off(self.supervisors)

    def _see_off(self, leaving: list[subprocess.Popen[bytes]]) -> None:
        for process in leaving:
            try:
                code = process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                code = process.wait()
            if code:
                self.complaints.append(f"{process.args} was told to stop and ended with {code}")
            _forget(process)
        leaving.clear()

    def left_behind(self) -> list[str]:
        """Return what is alive of this run."""
        return [f"{pid} of {self.folder}" for pid in marked(self.folder)]


def _forget(process: subprocess.Popen[bytes]) -> None:
    process.wait()
    if process.stdin:
        process.stdin.close()


def is_marked(pid: int, folder: Path) -> bool:
    """Tell whether a process is alive and belongs to the run in this folder."""
    try:
        return f"{MARKER}={folder}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def marked(folder: Path) -> list[int]:
    """Return the pids of all live processes of a run. One that has died and is not reaped is not alive."""
    return [pid for pid in _pids() if is_marked(pid, folder)]


def children_of(pid: int) -> list[int]:
    """Return the live children of a process, oldest first."""
    return sorted(each for each in _pids() if _parent_of(each) == pid)


def _pids() -> list[int]:
    return [int(each.name) for each in Path("/proc").iterdir() if each.name.isdecimal()]


def _parent_of(pid: int) -> int | None:
    """Return the parent of a process that is alive."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, parent = stat.rpartition(")")[2].split()[:2]
    return None if state in "ZX" else int(parent)


def send(pid: int, number: int) -> bool:
    """Send a signal; false when the process is gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def sweep(folder: Path, seconds: float = 10.0) -> None:
    """Kill every process of a run, stopped ones too, until none is left."""
    deadline = time.monotonic() + seconds
    while (found := marked(folder)) and time.monotonic() < deadline:
        for pid in found:
            send(pid, signal.SIGKILL)
        time.sleep(0.02)


if __name__ == "__main__":
    sys.stdin.buffer.read()
    sweep(Path(sys.argv[1]))
