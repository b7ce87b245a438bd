"""What the demo shows: progress, and the refusal."""

import sys

import pytest


def test_progress_in_a_pipe_is_a_line_for_each_quarter(forge, capsys):
    """A log is not flooded."""
    with forge("demo.progress").progress("pushes") as show:
        for number in range(1, 101):
            show(number, 100)
    assert capsys.readouterr().out.splitlines() == [f"  pushes: {done} of 100" for done in (25, 50, 75, 100)]


def test_progress_of_nothing(forge, capsys):
    """Zero of zero is neither a line nor an error."""
    with forge("demo.progress").progress("pushes") as show:
        show(0, 0)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("has_rich", [True, False])
def test_progress_on_a_terminal(forge, capsys, monkeypatch, has_rich):
    """A bar with rich, a line that is written over without it."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    if not has_rich:
        monkeypatch.setitem(sys.modules, "rich.progress", None)
    with forge("demo.progress").progress("pushes") as show:
        show(1, 2)
        show(2, 2)
    shown = capsys.readouterr().out
    assert "pushes" in shown
    assert has_rich or shown == "\r  pushes: 1 of 2 \r  pushes: 2 of 2 \n"


def test_the_refusal_is_a_real_one(forge):
    """The text is what the contract says, and each mistake is in it."""
    code, error = forge("demo.refusal").refused()
    assert code.startswith("CommitsPushed(push_id='17'")
    assert "did you mean 'before'?" in error
    assert "commit_count: must be at least 1" in error
