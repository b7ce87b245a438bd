"""`whereupon demo` from the outside: what it prints, and how it ends."""

import importlib
import os
import re
import signal
import sqlite3
import subprocess
import sys

import pytest
from click.testing import CliRunner
from tests.broker_servers import Redis
from tests.postgres_server import PostgreSQL
from tests.servers import own_postgres

from whereupon.cli import main

module = importlib.import_module("whereupon.cli.demo")
EXHAUSTIVE = pytest.mark.exhaustive
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def lines(done):
    return done.stdout.splitlines()


def assert_well(done):
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^published [\d,]+ events, [\d,]+ deliveries; lost 0$", done.stdout, re.MULTILINE)
    assert "duplicates of effects 0" in lines(done)
    assert re.search(
        r"SIGKILL to the worker, processes \d+ and \d+, with \d+ deliver(y|ies) in hand", done.stdout
    )
    assert "git.commits_pushed refuses this payload [WU102]" in done.stdout
    assert "  flowchart LR" in lines(done)
    assert not CONTROL.search(done.stdout)
    assert done.stderr == ""


@pytest.mark.slow
def test_a_real_repository(run_demo, hostile, tmp_path):
    """The history of the repository around the current directory is replayed, whatever it contains."""
    inside = hostile.repository.path / "inside"
    inside.mkdir()
    done = run_demo(inside)
    assert_well(done)
    assert f"The history is that of the git repository at {inside}." in lines(done)
    assert lines(done)[1].startswith(f"{hostile.commits} commits are replayed as ")
    assert not list(tmp_path.glob("whereupon-demo-*"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "start"),
    [
        ("celery", Redis),
        pytest.param("dramatiq", Redis, marks=EXHAUSTIVE),
        pytest.param("rq", Redis, marks=EXHAUSTIVE),
        pytest.param("procrastinate", own_postgres, marks=EXHAUSTIVE),
    ],
)
def test_on_an_engine(run_demo, tmp_path, engine, start):
    """The same with the workers of an engine, of which the process that handles is killed too."""
    server = start()
    try:
        done = run_demo(tmp_path, "--pushes", "20", "--engine", engine, "--broker", url_of(server))
    finally:
        server.end()
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^published [\d,]+ events, [\d,]+ deliveries; lost 0$", done.stdout, re.MULTILINE)
    assert "duplicates of effects 0" in lines(done)
    assert re.search(
        r"SIGKILL to the worker, processes \d+ and \d+, with \d+ deliver(y|ies) in hand", done.stdout
    )


def url_of(server):
    return server.url() if isinstance(server, PostgreSQL) else server.url


def test_an_engine_whose_broker_is_away(run_demo, tmp_path):
    """It is said at once, with host and port."""
    done = run_demo(tmp_path, "--engine", "celery", "--broker", "redis://127.0.0.1:1/0")
    assert done.returncode == 1
    assert "Celery's broker redis://:**@127.0.0.1:1/0 does not answer" in done.stdout


@pytest.mark.slow
def test_a_folder_without_a_repository(run_demo, tmp_path):
    """It is said, and a made-up history is used."""
    done = run_demo(tmp_path, "--pushes", "30")
    assert_well(done)
    assert lines(done)[0] == f"{tmp_path} is not in a git repository, so a small history is made up."
    assert "30 pushes" in lines(done)[1]
    assert "merge_requests.notify_reviewers:ci.pipeline_created, after 3 attempts" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("is_named", [False, True])
def test_a_repository_without_commits(run_demo, repository, tmp_path, is_named):
    """It is said, and a made-up history is used; also where the repository was named."""
    arguments = ("--repo", str(repository.path)) if is_named else ()
    done = run_demo(tmp_path if is_named else repository.path, "--pushes", "5", *arguments)
    assert_well(done)
    assert "has no commits yet, so a small history is made up." in lines(done)[0]


@pytest.mark.slow
def test_without_git(run_demo, tmp_path):
    """The made-up history needs none."""
    done = run_demo(tmp_path, "--pushes", "5", PATH=str(tmp_path))
    assert_well(done)
    assert lines(done)[0] == "Git is not installed, so a small history is made up."


@pytest.mark.slow
def test_a_single_commit(run_demo, repository, tmp_path):
    """The smallest history there is."""
    repository.commit("First")
    done = run_demo(tmp_path, "--repo", str(repository.path))
    assert_well(done)
    assert "1 commit is replayed as 1 push." in lines(done)


@pytest.mark.slow
def test_the_database_can_be_kept(run_demo, repository, tmp_path):
    """It stays with the worker's log, and the next demo does not write into it."""
    repository.commit("First")
    arguments = ("--repo", str(repository.path), "--keep", str(tmp_path / "kept" / "here"))
    done = run_demo(tmp_path, *arguments)
    assert_well(done)
    kept = tmp_path / "kept" / "here"
    assert lines(done)[-1] == f"The database and the logs are in {kept}."
    assert (kept / "worker.log").is_file()
    connection = sqlite3.connect(kept / "forge.sqlite3")
    assert connection.execute("SELECT count(*) FROM git_commit").fetchone() == (1,)
    connection.close()
    again = run_demo(tmp_path, *arguments)
    assert (again.returncode, again.stdout) == (2, "")
    assert "the folder holds an earlier demo; name another" in again.stderr


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_when_it_is_interrupted_nothing_remains(repository, tmp_path, monkeypatch, number):
    """The worker ends with the demo, and the temporary folder goes."""
    for count in range(20):
        repository.commit(f"Commit {count}", author=f"Author {count}")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    command = [sys.executable, "-m", "whereupon", "demo", "--repo", str(repository.path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
    ) as running:
        line = next(each for each in running.stdout if each.startswith("Worker "))
        running.send_signal(number)
        running.communicate(timeout=30)
    assert running.returncode in (1, 128 + number)
    worker = int(line.split()[1])
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)
    assert not list(tmp_path.glob("whereupon-demo-*"))


def test_a_named_folder_without_a_repository(run_demo, tmp_path):
    """Who names a repository is told that it is none."""
    done = run_demo(tmp_path, "--repo", str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{tmp_path} is not in a git repository" in done.stderr
    assert not list(tmp_path.glob("whereupon-demo-*"))


@pytest.fixture
def in_process(monkeypatch):
    """Run the command here, with its side effects on this process undone."""
    monkeypatch.setattr(module, "signal", type("Signal", (), {"SIGTERM": 15, "signal": lambda *_: None}))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("FORGE_DATABASE", "restored by the fixture")
    return lambda *arguments: CliRunner().invoke(main, ["demo", *arguments])


def test_a_loss_is_exit_status_1_and_keeps_the_evidence(in_process, monkeypatch, tmp_path):
    """Whoever looks into it finds the database."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(module.tempfile, "tempdir", None)
    monkeypatch.setattr(module, "_play", lambda *_: False)
    result = in_process()
    (kept,) = tmp_path.glob("whereupon-demo-*")
    assert result.exit_code == 1
    assert result.output == f"\nThe database and the logs are in {kept}.\n"


def test_trouble_with_the_worker_shows_the_end_of_its_log(
    in_process, monkeypatch, tmp_path, forge, repository
):
    """One sentence, then what the worker said last."""
    repository.commit("First")
    code = "print(*range(100), sep=chr(10)); raise SystemExit(3)"
    monkeypatch.setattr(forge("engines"), "command", lambda: (sys.executable, "-c", code))
    result = in_process("--keep", str(tmp_path / "kept"), "--repo", str(repository.path))
    assert result.exit_code == 1
    assert "the worker ended by itself with status 3\nIts log ends with:\n80\n81\n" in result.output
