"""max_retries of tasks that a team has already: of the task, of its base, of autoretry_for, of one call."""

from __future__ import annotations

import os

import pytest
from celery import Celery, Task
from celery.signals import worker_process_shutdown

from whereupon import Event, EventStore, SQLiteLedger, publish, subscribe, subscriber
from whereupon.engines.celery import CeleryEngine
from whereupon.testing import using_store


class Happened(Event, name="retries.happened"):
    number: int


class Careful(Task):
    abstract = True
    max_retries = 1


STARTS = {"based": 2, "stubborn": 4, "persist": 3, "give_up": 2, "apologize": 3, "calm": 1}
"""One more than max_retries, of which that of a call goes before that of the task, in both directions."""


@pytest.mark.slow
def test_what_a_task_says_of_retries_ends_the_attempts_of_a_delivery(make_app, broker):
    app = make_app(",".join(STARTS))
    app.start_ready()
    stranger = Celery("client", broker=broker.url)
    stranger.send_task("team.calm", args=[7])
    stranger.close()
    publish(app.module.Created(number=1, what="Ada\u2028"))
    app.until_quiet(30)
    assert {name: app.count("start", name)[1] for name in STARTS} == STARTS
    parked = {each.subscription.partition(":")[0]: each for each in app.parked()}
    assert {each.outcome for each in parked.values()} == {"attempts"}
    assert sorted(parked) == [f"celery.{name}" for name in sorted(STARTS.keys() - {"apologize", "calm"})]
    for each in parked.values():
        assert "ConnectionError" in each.error
        assert "the bank of *** is away" in each.error, "no payload value is kept"
    assert "MaxRetriesExceededError at" in parked["celery.give_up"].error
    assert app.count("done", "apologize") == app.count("sorry", "apologize") == {1: 1}
    app.until(lambda: app.count("done", "calm") == {1: 1, 7: 2})  # retry(throw=False) of a call by others


class Tireless(Task):
    abstract = True
    max_retries = None


def test_none_of_the_base_is_for_ever(tmp_path):
    app = Celery("own", broker="redis://127.0.0.1:1/0")

    @app.task(name="team.tireless", base=Tireless, bind=True, shared=False)
    def tireless(self, event: Happened) -> None:
        self.retry(countdown=60)

    ledger = SQLiteLedger(tmp_path / "ledger.sqlite3", own_transaction=True)
    ledger.migrate()
    engine = CeleryEngine(app)
    store = EventStore(subscriptions=[subscribe(tireless, to=Happened)], ledger=ledger, engine=engine)
    engine.register(store)
    with using_store(store):
        publish(Happened(number=1))
        with ledger.transaction() as transaction:
            transaction.run("UPDATE whereupon_delivery SET attempts = 1000")
        app.tasks["team.tireless"](whereupon=[1])
    worker_process_shutdown.send(sender=None, pid=os.getpid(), exitcode=0)
    with ledger.reading() as transaction:
        ((state, attempts),) = transaction.rows("SELECT state, attempts FROM whereupon_delivery")
    assert (state, attempts) == ("open", 1001)


def do_nothing(event) -> None:
    """Be the body of a task."""


@pytest.mark.parametrize(
    "said",
    [
        {"max_retries": 2},
        {"max_retries": None},
        {"base": Careful},
        {"autoretry_for": (OSError,), "retry_kwargs": {"max_retries": 2}},
    ],
    ids=["task", "for-ever", "base", "autoretry"],
)
def test_beside_max_attempts_it_is_a_fault(said):
    (fault,) = faults_of(said)
    assert "says max_retries= as a task and max_attempts= as a subscriber" in str(fault)


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"retry_kwargs": {"max_retries": 2}},
        {"autoretry_for": (OSError,), "retry_kwargs": {"max_retries": None}},
    ],
    ids=["nothing", "for-no-error", "the-default"],
)
def test_what_says_nothing_to_celery_is_none(said):
    assert faults_of(said) == []


def faults_of(said) -> list:
    app = Celery("own", broker="redis://127.0.0.1:1/0")
    task = app.task(name="team.both", shared=False, **said)(do_nothing)
    both = subscribe(subscriber(max_attempts=5, name="both")(task), to=Happened)
    return list(CeleryEngine(app).faults_of(*both.each()))
