"""The oracle of the demo finds what was lost and what was done twice: each kind is brought about here."""

import os
import shutil
import sqlite3
import sys
import time
from pathlib import Path

import pytest

from whereupon.ledger import reports

SABOTAGE = {
    "pushes without an event": "DELETE FROM whereupon_event WHERE name = 'git.commits_pushed'",
    "commits without an event": "DELETE FROM whereupon_event WHERE name = 'git.commit_added'",
    "pipelines without an event": "DELETE FROM whereupon_event WHERE name = 'ci.pipeline_created'",
    "commits without a pipeline": "DELETE FROM ci_pipeline WHERE push_id = 2",
    "commits that search does not find": "DELETE FROM search_entry WHERE rowid = 1",
    "authors who are not suggested": "DELETE FROM search_suggestion",
    "authors who are not welcomed": "DELETE FROM onboarding_welcome",
    "branches whose merge request does not show the newest pipeline": """
        UPDATE merge_requests_merge_request SET head_pipeline_id = head_pipeline_id - 1
    """,
    "pipelines without a mail, sent or parked": "DELETE FROM merge_requests_mail WHERE pipeline_id = 1",
    "deliveries that are neither done nor parked": """
        DELETE FROM whereupon_delivery WHERE id = (SELECT max(id) FROM whereupon_delivery)
    """,
    "pipelines made again": "INSERT INTO ci_pipeline SELECT NULL, push_id, ref, commit_id FROM ci_pipeline",
    "commits indexed again": "INSERT INTO search_entry SELECT * FROM search_entry LIMIT 1",
    "mails sent again": """
        INSERT INTO merge_requests_mail SELECT 'x', pipeline_id FROM merge_requests_mail LIMIT 1
    """,
}


@pytest.fixture
def finished(forge, commit, tmp_path):
    """Return the database of a run that has come to rest."""
    for number in range(1, 5):
        ref = "refs/heads/main" if number == 4 else "refs/heads/ada"
        forge("git.services").receive_push(ref, [commit(number)])
    with forge("demo.worker").Worker(tmp_path) as worker:
        worker.start()
        deadline = time.monotonic() + 60
        while unfinished(forge) and time.monotonic() < deadline:
            time.sleep(0.05)
        worker.stop()
    return forge("database").PATH


def unfinished(forge):
    with forge("event_store").store.ledger.reading() as transaction:
        return reports.unfinished(transaction)


@pytest.mark.slow
def test_each_kind_of_loss_and_of_repetition_is_found(forge, finished, tmp_path):
    """An untouched run is well; after each sabotage the oracle names it."""
    judge = forge("demo.oracle").judge
    verdict = judge()
    assert (verdict.lost, verdict.twice) == ({}, {})
    kept = shutil.copy(finished, tmp_path / "kept")
    for name, sql in SABOTAGE.items():
        shutil.copy(kept, finished)
        with sqlite3.connect(finished) as connection:
            connection.execute(sql)
        connection.close()
        verdict = judge()
        assert name in {**verdict.lost, **verdict.twice}, name


def test_the_sabotage_is_complete(forge):
    """Whoever adds a check shows that it can fail."""
    oracle = forge("demo.oracle")
    checks = {*oracle.LOST, *oracle.TWICE, "deliveries that are neither done nor parked"}
    assert checks == set(SABOTAGE)


def test_nothing_is_judged_by_a_run_that_never_happened(forge):
    """An application in which nothing happened has lost nothing."""
    verdict = forge("demo.oracle").judge()
    assert (verdict.events, verdict.lost, verdict.twice) == (0, {}, {})


@pytest.mark.slow
def test_a_worker_that_is_killed_leaves_no_process(forge, tmp_path):
    """Parent and child are gone, and the worker says so when it is asked."""
    worker = forge("demo.worker").Worker(tmp_path)
    worker.start()
    pids = worker.kill()
    assert len(pids) == 2
    with pytest.raises(forge("demo.worker").WorkerTrouble, match="ended by itself with status -9"):
        worker.check()
    deadline = time.monotonic() + 10
    while any(map(is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(map(is_alive, pids))


def is_alive(pid):
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.slow
def test_a_worker_that_cannot_start_is_trouble(forge, tmp_path, monkeypatch):
    """It is said at once, and not waited for."""
    module = forge("demo.worker")
    ends_at_once = sys.executable, "-c", "raise SystemExit(3)"
    monkeypatch.setattr(forge("engines"), "command", lambda: ends_at_once)
    worker = module.Worker(tmp_path)
    with pytest.raises(module.WorkerTrouble, match="status 3"):
        worker.start()
    assert worker.kill() == []
