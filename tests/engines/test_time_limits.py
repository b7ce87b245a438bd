"""A limit for each call, kept by an alarm of the process."""

from __future__ import annotations

import signal
import threading
import time
from datetime import timedelta

import pytest

from whereupon.engines.time_limits import limited


class TooLong(Exception):
    """What an engine raises at its own limit."""


def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


in_time = limited(sleep, timedelta(seconds=0.2), TooLong)


@pytest.fixture(autouse=True)
def alarm():
    """Find and leave no alarm behind."""
    previous = signal.getsignal(signal.SIGALRM)
    yield
    assert signal.setitimer(signal.ITIMER_REAL, 0) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) is previous


def test_a_call_that_runs_for_too_long_is_interrupted_where_it_is():
    with pytest.raises(TooLong, match=r"over its time limit of 0:00:00\.2"):
        in_time(5)


def test_each_call_has_the_whole_limit():
    assert [in_time(0.1) for _ in range(4)] == [0.1] * 4


def test_a_thread_that_cannot_be_interrupted_runs_on():
    done: list[object] = []
    thread = threading.Thread(target=lambda: done.append(in_time(0.3)))
    thread.start()
    thread.join()
    assert done == [0.3]


@pytest.mark.parametrize("seconds", [0.01, 0.15], ids=["still-running", "run-out-meanwhile"])
def test_the_engine_s_own_alarm_strikes_behind_the_call(seconds):
    struck: list[float] = []
    previous = signal.signal(signal.SIGALRM, lambda *_: struck.append(time.monotonic()))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        in_time(seconds)
        ended = time.monotonic()
        while not struck:
            time.sleep(0.01)
        assert struck[0] >= ended
    finally:
        signal.signal(signal.SIGALRM, previous)


def test_one_that_swallows_the_limit_meets_the_engine_s_own_alarm():
    def swallow(seconds: float) -> list[str]:
        met: list[str] = []
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            try:
                time.sleep(0.01)
            except Exception as error:
                met.append(type(error).__name__)
        return met

    def strike(*_: object) -> None:
        raise OSError

    previous = signal.signal(signal.SIGALRM, strike)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        assert limited(swallow, timedelta(seconds=0.1), TooLong)(0.5) == ["TooLong", "OSError"]
    finally:
        signal.signal(signal.SIGALRM, previous)
