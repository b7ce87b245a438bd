"""Children of a Celery worker that are killed one after the other: the pool goes on, and nothing is lost."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from whereupon import publish_many

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("WHEREUPON_KILLS", "6"))
"""For each change; 200 when all is asked for."""
PAGE = 20
# what lies in the pipe of a killed child is lost to Celery, and sent again after RESEND


@pytest.fixture
def database() -> str:
    return "postgresql"


@pytest.fixture
def broker(redis):
    redis.lose_everything()
    return redis


def children_of(pid: int) -> list[int]:
    """Return the processes of the pool: forks of the worker, so of the same command."""
    command = Path(f"/proc/{pid}/cmdline").read_bytes()
    found = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return [each for each in found if is_of(each, command)]


def is_of(pid: int, command: bytes) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() == command
    except OSError:
        return False


def restarted(app, kills: int) -> None:
    worker = app.start_ready()
    published = deaths = 0
    while deaths < kills:
        publish_many([app.module.Created(number=published + n) for n in range(PAGE)])
        published += PAGE
        before = len(app.count("done", "plain"))
        app.until(lambda: len(app.count("done", "plain")) > before, 30)  # noqa: B023 - called at once
        victims = [pid for pid in app.holders() if pid in children_of(worker.pid)]
        for pid in (victims or children_of(worker.pid))[:1]:
            os.kill(pid, signal.SIGKILL)
            deaths += 1
    app.until_quiet(60)
    assert worker.poll() is None
    assert app.parked() == []
    done = app.count("done", "plain")
    assert sorted(done) == list(range(published))
    assert sum(done.values()) - published <= 2 * deaths
    app.until(lambda: len(children_of(worker.pid)) == 2)


def test_after_each_kill_of_a_child_the_pool_goes_on(make_app):
    restarted(make_app(RESEND="3"), KILLS)


@pytest.mark.exhaustive
def test_two_hundred_kills_of_children_end_in_no_deadlock(make_app):
    started = time.monotonic()
    restarted(make_app(RESEND="3"), 200)
    print(f"200 restarts in {time.monotonic() - started:.0f} s")
