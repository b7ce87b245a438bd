"""Cases in which something dies: a process, a worker, its helper, or the broker."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Final

from whereupon.ledger import rescue
from whereupon.testing.engine_contract.app import Happened

if TYPE_CHECKING:
    from collections.abc import Callable

    from whereupon.testing.engine_contract.rig import Rig

SOON: Final = 3.0
"""Within how many seconds a delivery is started again whose process died, on a machine with a helper."""
WITH_HELPER: Final = 8.0
"""The same where the helper dies at the same moment, and another one starts."""
BACKLOG: Final = int(os.environ.get("WHEREUPON_BACKLOG", "200"))
"""How many deliveries wait when a broker is emptied or killed."""
KILLS: Final = int(os.environ.get("WHEREUPON_KILLS", "3"))
"""How many processes are killed while a backlog is handled."""
RETURNED: Final = 60.0
"""Within how many seconds of a broker's return everything is done."""
_SLEEP: Final = 4


def handling_process(rig: Rig) -> None:
    """Kill the process that handles."""
    _redelivered(rig, "the process that handles", lambda pid: os.kill(pid, signal.SIGKILL), SOON)


def worker(rig: Rig) -> None:
    """Kill a whole worker, with all processes but its helper."""
    _redelivered(rig, "the whole worker", lambda pid: rig.kill(rig.owner(pid)), SOON)


def helper(rig: Rig) -> None:
    """Kill the process that handles, and the helpers of all workers."""

    def kill(pid: int) -> None:
        for each in [*rig.helpers(), pid]:
            os.kill(each, signal.SIGKILL)

    _redelivered(rig, "the process that handles, with all helpers,", kill, WITH_HELPER)


def one_helper(rig: Rig) -> None:
    """Kill the helper of a worker that handles, and nothing else; when a new one is there, all others."""
    rig.at_least(2)
    rig.until(lambda: len(rig.helpers()) >= 2)
    running = rig.number()
    rig.publish(Happened(number=running, what=f"sleep {_SLEEP}"))
    rig.until(lambda: rig.count("start", "act")[running])
    (pid,) = {line.pid for line in rig.log() if line[:3] == ("start", "act", running)}
    before = rig.helpers()
    os.kill(rig.helper_of(pid), signal.SIGKILL)
    _started_within(rig, SOON)
    rig.until(lambda: set(rig.helpers()) - set(before), WITH_HELPER)
    for each in set(before) & set(rig.helpers()):
        os.kill(each, signal.SIGKILL)
    _started_within(rig, WITH_HELPER)
    rig.until_quiet()
    assert rig.count("start", "act")[running] == rig.count("done", "act")[running] == 1, "it is undisturbed"  # noqa: S101


def _started_within(rig: Rig, bound: float) -> None:
    number = rig.number()
    rig.publish(Happened(number=number))
    rig.until(lambda: rig.count("start", "act")[number], bound)


def _redelivered(rig: Rig, who: str, kill: Callable[[int], None], bound: float) -> None:
    rig.end_workers()
    rig.at_least(2)
    number = rig.number()
    rig.publish(Happened(number=number, what=f"sleep {_SLEEP}"))
    rig.until(lambda: rig.count("start", "act")[number] == 1)
    (pid,) = {line.pid for line in rig.log() if line[:3] == ("start", "act", number)}
    killed = time.monotonic()
    kill(pid)
    rig.until(lambda: rig.count("start", "act")[number] == 2)
    rig.redelivered[who] = rig.moments("start", "act", number)[1] - killed
    rig.until_quiet()
    assert rig.count("done", "act")[number] == 1, "it is done"  # noqa: S101
    assert rig.redelivered[who] < bound, f"started again after {rig.redelivered[who]:.1f} s"  # noqa: S101


def many_deaths(rig: Rig) -> None:
    """Kill process after process while a backlog is handled."""
    rig.at_least(1)
    numbers = [rig.number() for _ in range(KILLS * 20)]
    rig.publish(*[Happened(number=each, what="sleep 0.05") for each in numbers])
    for _ in range(KILLS):
        _handle(rig, 6)
        if alive := [line.pid for line in rig.log()[-2:] if _is_alive(line.pid)]:
            os.kill(alive[-1], signal.SIGKILL)
    _handle(rig, sys.maxsize)
    _all_done(rig, numbers)


def _handle(rig: Rig, lines: int) -> None:
    """Wait until so much has been logged, or all is done; a worker that ends is started again."""
    seen = len(rig.log())
    deadline = time.monotonic() + RETURNED
    while rig.unfinished() and len(rig.log()) < seen + lines and time.monotonic() < deadline:
        rig.at_least(1)
        time.sleep(0.05)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def sigterm(rig: Rig) -> None:
    """Stop a worker that handles something."""
    rig.end_workers()
    rig.at_least(1)
    number = rig.number()
    rig.publish(Happened(number=number, what="sleep 2"))
    rig.until(lambda: rig.count("start", "act")[number])
    (running,) = rig.running()
    running.terminate()
    assert running.wait(30) in {0, -signal.SIGTERM}, f"exit status {running.returncode}"  # noqa: S101
    assert rig.count("start", "act")[number] == rig.count("done", "act")[number] == 1, "it is done once"  # noqa: S101
    rig.until(lambda: not rig.helpers())
    if rig.store.is_tracked:
        rig.until(lambda: not rig.unfinished() and not _known(rig))


def _known(rig: Rig) -> list[rescue.Process]:
    with rig.store.ledger.reading() as transaction:
        return rescue.processes(transaction)


def lost_jobs(rig: Rig) -> None:
    """Delete all jobs in the middle of a backlog."""
    numbers = _backlog(rig)
    rig.kind.broker.lose_everything()  # type: ignore[union-attr]
    _handle(rig, sys.maxsize)
    _all_done(rig, numbers)


def broker_restart(rig: Rig) -> None:
    """Kill the broker in the middle of a backlog and start it again, and also a worker that ends over it."""
    numbers = _backlog(rig)
    rig.kind.broker.kill()  # type: ignore[union-attr]
    time.sleep(1)
    rig.kind.broker.start()  # type: ignore[union-attr]
    _handle(rig, sys.maxsize)
    _all_done(rig, numbers)


def _backlog(rig: Rig) -> list[int]:
    rig.at_least(1)
    numbers = [rig.number() for _ in range(BACKLOG)]
    rig.publish(*[Happened(number=each) for each in numbers])
    third = numbers[0] + BACKLOG // 3
    rig.until(lambda: sum(1 for line in rig.log() if line.number >= numbers[0]) > 2 * (third - numbers[0]))
    return numbers


def _all_done(rig: Rig, numbers: list[int]) -> None:
    rig.until_quiet(0.1)
    done = rig.count("done", "act")
    lost = [each for each in numbers if not done[each]]
    assert not lost, f"lost: {len(lost)} of {len(numbers)}"  # noqa: S101
