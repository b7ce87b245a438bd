"""Which process is which: whether a worker on this machine is alive, stopped or gone."""

from __future__ import annotations

import functools
import socket
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from whereupon.ledger.rescue import Process

if TYPE_CHECKING:
    from collections.abc import Iterable

_BORN = 19  # the start time is field 22 of /proc/PID/stat, and the third one follows the name


def new_worker_id() -> str:
    """Make the identity of a worker: random for each start of a process, never a name that comes back."""
    return uuid4().hex


def describe_process(worker: str, pid: int, kind: str) -> Process:
    """Describe a process of this machine as the ledger keeps it."""
    return Process(worker, socket.gethostname(), place(), pid, born(pid) or "", kind)


@functools.cache
def place() -> str:
    """Identify the running kernel and the process namespace, in which a pid has a meaning.

    Empty where the system does not tell (there is no /proc); then peers wait until the lease lapses.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}:{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return ""


def born(pid: int) -> str | None:
    """Return when a process started, in ticks since the boot; None when there is no such process."""
    fields = _stat(pid)
    return None if not fields or fields[0] in "ZX" else fields[_BORN]


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on; empty where there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return stat.rpartition(")")[2].split()


def running_here(processes: Iterable[Process]) -> list[Process]:
    """Return those that run on this machine, and are not stopped."""
    here = place()
    return [
        each
        for each in processes
        if here and each.place == here and born(each.pid) == each.born and not is_stopped(each.pid)
    ]


def is_stopped(pid: int) -> bool:
    """Tell whether a process is stopped by a signal or a debugger."""
    fields = _stat(pid)
    return bool(fields) and fields[0] in "tT"


def dead(processes: Iterable[Process]) -> list[Process]:
    """Return those that ran on this machine and do not any more."""
    here = place()
    return [each for each in processes if here and each.place == here and born(each.pid) != each.born]
