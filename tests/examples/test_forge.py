"""The application Forge: its transactions, its subscribers one by one, and all of it with a worker."""

import ast
import time
from pathlib import Path

import pytest

from whereupon import IGNORED, payload_of
from whereupon.envelopes import seal
from whereupon.errors import InvalidEvent
from whereupon.ledger import reports

FORGE = Path(__file__).parents[2] / "examples" / "forge"
CONTEXTS = ("git", "ci", "merge_requests", "onboarding", "search")
MAIN = "refs/heads/main"


def pushed(forge, push_id=1, authors=("ada",)):
    return forge("git.events").CommitsPushed(
        push_id=push_id, ref=MAIN, before="0" * 40, after="f" * 40, commit_count=1, authors=authors
    )


def created(forge, pipeline_id=1, ref="refs/heads/ada"):
    return forge("ci.events").PipelineCreated(pipeline_id=pipeline_id, ref=ref, commit_id="f" * 40)


def test_a_push_leaves_its_rows_and_its_events(forge, commit, rows):
    """One push with two commits is one push row, two commit rows and three events."""
    forge("git.services").receive_push(MAIN, [commit(1), commit(2, author="grace")])
    assert rows("SELECT ref, before, after FROM git_push") == [(MAIN, "0" * 40, f"{2:040x}")]
    assert rows("SELECT id, author FROM git_commit") == [(f"{1:040x}", "ada"), (f"{2:040x}", "grace")]
    names = [name for (name,) in rows("SELECT name FROM whereupon_event ORDER BY rowid")]
    assert names == ["git.commits_pushed", "git.commit_added", "git.commit_added"]


def test_a_push_that_fails_leaves_nothing(forge, commit, rows):
    """When an event is refused, neither rows nor events remain."""
    with pytest.raises(InvalidEvent):
        forge("git.services").receive_push(MAIN, [commit(1), commit(2, title="t" * 201)])
    assert rows("SELECT count(*) FROM git_push") == [(0,)]
    assert rows("SELECT count(*) FROM git_commit") == [(0,)]
    assert rows("SELECT count(*) FROM whereupon_event") == [(0,)]


def test_a_branch_knows_its_head(forge, commit, rows):
    """`before` is what the last push to the same branch ended with, whatever went to others."""
    receive = forge("git.services").receive_push
    receive(MAIN, [commit(1)])
    receive("refs/heads/ada", [commit(2)])
    receive(MAIN, [commit(3)])
    assert rows("SELECT before FROM git_push WHERE id = 3") == [(f"{1:040x}",)]


def test_a_commit_is_added_once(forge, commit, rows):
    """A commit that comes with two branches is one row and one event."""
    receive = forge("git.services").receive_push
    receive("refs/heads/ada", [commit(1)])
    receive(MAIN, [commit(1), commit(2)])
    assert rows("SELECT count(*) FROM git_commit") == [(2,)]
    assert rows("SELECT count(*) FROM whereupon_event WHERE name = 'git.commit_added'") == [(2,)]


def test_the_pipeline_and_its_event_are_one(forge, rows):
    """The subscriber of CI, called directly, writes the row and the event in the given transaction."""
    with forge("database").transaction() as connection:
        forge("ci.subscribers").create_pipeline(pushed(forge), connection)
    assert rows("SELECT push_id, ref FROM ci_pipeline") == [(1, MAIN)]
    assert rows("SELECT name FROM whereupon_event") == [("ci.pipeline_created",)]


def test_an_older_pipeline_never_replaces_a_newer_one(forge, rows):
    """Pipelines are heard of in any order."""
    update = forge("merge_requests.subscribers").update_head_pipeline
    for pipeline in (2, 7, 5, 7):
        update(created(forge, pipeline))
    assert rows("SELECT * FROM merge_requests_merge_request") == [("refs/heads/ada", 7)]


def test_the_default_branch_has_no_merge_request(forge):
    """The condition is asked in the publisher: no delivery is made."""
    store = forge("event_store").store
    plan = store.plan(created(forge, ref=MAIN))
    assert [each.subscriber.name for each in plan.skipped] == ["update_head_pipeline"]
    assert not store.plan(created(forge)).skipped


def test_a_mail_is_sent_once(forge, rows):
    """The id of the event is the id of the message."""
    event = created(forge)
    envelope = seal(event, {})
    for _ in range(2):
        forge("merge_requests.subscribers").notify_reviewers(event, envelope)
    assert rows("SELECT message_id, pipeline_id FROM merge_requests_mail") == [(envelope.id, 1)]


def test_some_mail_is_always_refused(forge, rows):
    """The third pipeline and each fiftieth after it."""
    event = created(forge, pipeline_id=53)
    with pytest.raises(forge("merge_requests.mail").MailRefused):
        forge("merge_requests.subscribers").notify_reviewers(event, seal(event, {}))
    assert rows("SELECT count(*) FROM merge_requests_mail") == [(0,)]


def test_who_is_known_is_not_welcomed_again(forge):
    """The second push of an author has nothing to do, and says so."""
    welcome = forge("onboarding.subscribers").welcome_authors
    with forge("database").transaction() as connection:
        assert welcome(pushed(forge, 1, ("ada", "grace")), connection) is None
        assert welcome(pushed(forge, 2, ("ada",)), connection) is IGNORED
        assert welcome(pushed(forge, 3, ("ada", "klaus")), connection) is None


def test_the_cluster_fails_twice(forge, rows):
    """The count of tries outlives the subscriber's failure; the third try succeeds."""
    suggest, error = forge("search.subscribers").suggest_authors, forge("search.cluster").ClusterUnavailable
    for _ in range(2):
        with pytest.raises(error):
            suggest(pushed(forge, 11))
    suggest(pushed(forge, 11))
    suggest(pushed(forge, 4))
    assert rows("SELECT author, newest_push_id FROM search_suggestion") == [("ada", 11)]


def test_events_are_small(forge, commit):
    """An event of a push does not grow with its commits."""
    assert len(str(payload_of(pushed(forge)))) < 400


@pytest.mark.parametrize("context", CONTEXTS)
def test_contexts_import_only_events_of_each_other(context):
    """Nothing of another context is imported but its module `events`."""
    for path in (FORGE / context).glob("*.py"):
        for name in imported(path):
            parts = name.split(".")
            if parts[0] == "forge" and parts[1] in CONTEXTS and parts[1] != context:
                assert parts[2:] == ["events"], f"{path.name} imports {name}"


def imported(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            is_package = (FORGE.parent / Path(*node.module.split("."))).is_dir()
            yield from (f"{node.module}.{each.name}" for each in node.names) if is_package else (node.module,)
        elif isinstance(node, ast.Import):
            yield from (each.name for each in node.names)


@pytest.mark.slow
def test_with_a_worker_everything_comes_to_rest(forge, commit, tmp_path):
    """Ten pushes through a real worker: all effects there once, one mail parked, one push tried again."""
    for number in range(1, 11):
        ref = MAIN if number % 3 == 0 else f"refs/heads/author-{number % 2}"
        commits = [commit(10 * number + each, author=f"author-{number % 2}") for each in range(number)]
        forge("git.services").receive_push(ref, commits)
    store = forge("event_store").store
    with forge("demo.worker").Worker(tmp_path) as worker:
        worker.start()
        await_quiet(store)
        worker.stop()
    verdict = forge("demo.oracle").judge()
    assert (verdict.lost, verdict.twice, verdict.events) == ({}, {}, 10 + 55 + 10)
    with store.ledger.reading() as transaction:
        tallies = {each.subscription.partition(":")[0]: each for each in reports.tallies(transaction)}
        (parked,) = reports.parked(transaction)
    assert (parked.subscription.partition(":")[0], parked.attempts) == ("merge_requests.notify_reviewers", 3)
    assert tallies["merge_requests.update_head_pipeline"].skipped == 3
    assert (tallies["onboarding.welcome_authors"].handled, tallies["onboarding.welcome_authors"].ignored) == (
        2,
        8,
    )
    assert tallies["search.index_commits"].handled == 55
    assert (tallies["search.suggest_authors"].handled, tallies["search.suggest_authors"].retried) == (10, 1)


def await_quiet(store):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with store.ledger.reading() as transaction:
            if not reports.unfinished(transaction):
                return
        time.sleep(0.05)
    raise AssertionError("the ledger did not come to rest")
