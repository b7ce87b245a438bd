"""The killer: every 100 to 300 ms it hits a publisher, a worker child or a supervisor, or arms a point.

It chooses among those that have been at work, as the log tells; where it finds none for some seconds it takes
whoever there is.
"""

from __future__ import annotations

import random
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.crash import hits
from tests.crash.hits import LEASE, POINTS, Hit, Kind, Role
from tests.crash.processes import children_of, is_marked, send

if TYPE_CHECKING:
    from tests.crash.processes import Crew

ROLES: Final[dict[Role, float]] = {"publisher": 0.3, "child": 0.4, "supervisor": 0.15, "tree": 0.15}
_STOPPED_SHARE: Final = 0.15
_POINT_SHARE: Final = 0.4
_LONG_EVERY: Final = 20
"""Each so many rounds, in the middle, a worker is stopped until its lease has lapsed."""
_LATER: Final = 1.0
"""How many seconds a stopped supervisor wakes after its children, which it would end as soon as it does."""
_PATIENCE: Final = 5.0
"""How many seconds it waits for somebody who is at work, or for somebody to come to a point."""


class Move(NamedTuple):
    """What the killer means to do in one round; all of it is drawn before anybody is looked for."""

    wait: float
    role: Role
    kind: Kind = "KILL"
    pick: float = 0.0
    stop: float = 0.0
    point: str = ""


def moves(seed: int, rounds: int) -> list[Move]:
    """Draw the schedule of a run: the same for the same seed."""
    draw = random.Random(seed)
    found = []
    for number in range(1, rounds + 1):
        (role,) = draw.choices(list(ROLES), list(ROLES.values()))
        kind: Kind = "STOP" if draw.random() < _STOPPED_SHARE else "KILL"
        point = draw.choice(POINTS) if kind == "KILL" and draw.random() < _POINT_SHARE else ""
        move = Move(draw.uniform(0.1, 0.3), role, kind, draw.random(), draw.uniform(0.1, 2.0), point)
        if number % _LONG_EVERY == _LONG_EVERY // 2:
            move = move._replace(role="tree", kind="STOP", stop=LEASE + 1.5, point="")
        found.append(move)
    return found


class Killer:
    """Makes one move after another on a crew, and writes down what it has hit."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._stopped: dict[int, float] = {}
        self._read = 0
        self._at_work: set[int] = set()

    def make(self, move: Move) -> str:
        """Wait, hit somebody, see that there is a replacement, and tell what was done."""
        self.rest(move.wait)
        if move.point:
            return self._make_die_at(move.point)
        deadline = time.monotonic() + _PATIENCE
        while True:
            self._crew.reap()
            target = self._chosen(move, anybody=time.monotonic() > deadline)
            hit = target and self._strike(move, target)
            if hit:
                hits.append(self._crew.folder, hit)
                beyond = f" for {hit.seconds:.1f} s" if hit.seconds else ""
                return f"SIG{hit.kind} {hit.role} {' '.join(map(str, hit.pids))}{beyond}"
            self.rest(0.02)

    def rest(self, seconds: float) -> None:
        """Wait, and let those go on meanwhile whose time has come."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, 0.02))
            self.resume_due()

    def resume_due(self) -> bool:
        """Let those go on whose time has come; tell whether others are still stopped."""
        now = time.monotonic()
        for pid in [pid for pid, until in self._stopped.items() if until <= now]:
            del self._stopped[pid]
            if is_marked(pid, self._crew.folder):
                send(pid, signal.SIGCONT)
        return bool(self._stopped)

    def _make_die_at(self, point: str) -> str:
        armed = hits.arm(self._crew.folder, point)
        deadline = time.monotonic() + _PATIENCE
        while armed.exists() and time.monotonic() < deadline:
            self.rest(0.02)
        if armed.exists():
            armed.unlink(missing_ok=True)
            return f"nobody came to the point {point!r}"
        self._crew.reap()
        return f"SIGKILL at the point {point!r}"

    def _strike(self, move: Move, target: subprocess.Popen[bytes] | int) -> Hit | None:
        pid = target if isinstance(target, int) else target.pid
        family: tuple[int, ...] = ()
        if move.role in ("supervisor", "tree"):
            send(pid, signal.SIGSTOP)  # it starts no other child while its children are looked for
            family = tuple(children_of(pid))
        struck, shadow = ((pid, *family), ()) if move.role == "tree" else ((pid,), family)
        at = time.monotonic()
        number = signal.SIGSTOP if move.kind == "STOP" else signal.SIGKILL
        struck = tuple(each for each in struck if send(each, number))
        if not struck:
            return None
        seconds = move.stop if move.kind == "STOP" else 0.0
        if seconds:
            self._stopped |= dict.fromkeys(struck, at + seconds)
            if move.role == "tree":  # its children wake first, so that they try to close what they have lost
                self._stopped[pid] = at + seconds + _LATER
        elif not isinstance(target, int):
            target.wait(10)
            self._crew.reap()
        return Hit(at, move.kind, move.role, struck, shadow, seconds)

    def _chosen(self, move: Move, *, anybody: bool) -> subprocess.Popen[bytes] | int | None:
        """Choose somebody of the role. A stopped worker is left alone: it must live to lose its lease."""
        crew = self._crew
        self._look()
        there = [each for each in crew.supervisors if each.pid not in self._stopped]
        family = {each: children_of(each.pid) for each in there}
        found: list[subprocess.Popen[bytes] | int]
        if move.role == "publisher":
            found = [each for each in crew.publishers if anybody or each.pid in self._at_work]
        elif move.role == "child":
            found = [pid for own in family.values() for pid in own if anybody or pid in self._at_work]
        else:
            found = [each for each, own in family.items() if anybody or self._at_work & set(own)]
        return found[int(move.pick * len(found))] if found else None

    def _look(self) -> None:
        """Note who has written into the log since the last look."""
        with (self._crew.folder / "oracle.log").open("rb") as file:
            file.seek(self._read)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        self._at_work |= {int(line.split(b" ")[3]) for line in whole.splitlines()}
