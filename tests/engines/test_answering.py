"""Calls on a thread of their own, which may never come back."""

from __future__ import annotations

import threading

import pytest

from whereupon.engines import answering


def test_a_call_that_was_given_up_on_is_late_until_it_comes_back_and_lost_after_a_while(monkeypatch):
    monkeypatch.setattr(answering, "_LOST", 0.0)
    apart, answer = answering.Apart("test-apart"), threading.Event()
    with pytest.raises(TimeoutError, match="no answer within"):
        apart.within(0.05, answer.wait)
    assert apart.is_late
    assert apart.is_lost
    answer.set()
    assert apart.within(5, lambda: "there") == "there"
    assert not apart.is_late
    assert not apart.is_lost
    apart.end()
