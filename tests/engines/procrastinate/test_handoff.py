"""Procrastinate without a ledger: jobs that carry events, in the transaction of the caller."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import signal
import subprocess
import sys
import time

import procrastinate
import psycopg
import pytest
import sqlalchemy
from procrastinate.worker import Worker
from sqlalchemy.orm import Session

from tests.servers import new_database
from whereupon import apublish, publish, publish_many
from whereupon.engines.procrastinate_workers import Rescue
from whereupon.errors import NoTransaction, PublishError, WrongConnection
from whereupon.testing import engine_contract
from whereupon.testing.engine_contract.app import DELAY, FannedOut, Grouped, Happened, Told

pytestmark = pytest.mark.slow

APP = "tests.engines.procrastinate.handoff_app"
ACT = "engine_contract.act"


class HandoffKind:
    """Procrastinate's own worker command on a store without a ledger."""

    name = "procrastinate-handoff"
    store_name = f"{APP}:store"
    refuses = ("timeout",)

    def __init__(self, folder, database) -> None:
        self.folder = folder
        self.broker = database
        self.environment = {"BROKER": database.url}
        os.environ["ROLE"] = "publisher"
        module = importlib.import_module(APP)
        del os.environ["ROLE"]
        self.app = procrastinate.App(connector=procrastinate.SyncPsycopgConnector(conninfo=database.url))
        self.store = module.make_store(self.app)
        self.store.engine.register(self.store)
        self.app.open()

    def command(self, number) -> list[str]:
        return [
            *(sys.executable, "-m", "procrastinate", f"--app={APP}.app", "worker", "--concurrency=2"),
            "--fetch-job-polling-interval=0.2",
        ]

    def send(self, job, argument) -> None:
        self.app.configure_task(job).defer(whereupon=argument)

    def is_ready(self, output) -> bool:
        return "Launching a worker" in output


@pytest.fixture(scope="module")
def rig(tmp_path_factory, database):
    database.lose_everything()
    kind = HandoffKind(tmp_path_factory.mktemp("handoff"), database)
    with engine_contract.Rig(kind, lambda: psycopg.connect(database.url)) as rig:
        yield rig
    kind.app.close()


@pytest.fixture
def connection(database):
    with psycopg.connect(database.url) as connection:
        yield connection


IN_A_TRANSACTION = [each for each in engine_contract.HANDOFF_CASES if each.name != "follow-ups"]
"""Without the one that publishes in a subscriber, which here has to name a transaction."""


@pytest.mark.parametrize("case", IN_A_TRANSACTION, ids=str)
def test_contract_in_handoff(case, rig):
    case.run(rig)


def test_jobs_commit_with_the_caller_s_transaction_in_one_statement(rig, database):
    rig.end_workers()
    database.lose_everything()
    with (
        database.statements() as statements,
        psycopg.connect(database.url, application_name="whereupon") as on,
    ):
        publish(FannedOut(number=rig.number()), on=on)
        assert database.jobs("todo") == []
        on.rollback()
        with on.transaction():
            publish(FannedOut(number=rig.number()), on=on)
            assert database.jobs("todo") == []
    assert len(database.jobs("todo")) == 20
    assert len([line for line in statements() if "SELECT  unnest(" in line]) == 2
    database.lose_everything()


def test_a_savepoint_takes_its_events_along(rig, database, connection):
    rig.end_workers()
    database.lose_everything()
    publish(Happened(number=rig.number()), on=connection)
    with connection.transaction() as savepoint:
        publish(Happened(number=rig.number()), on=connection)
        raise psycopg.Rollback(savepoint)
    connection.commit()
    assert database.jobs("todo") == [ACT]


def test_coroutines_publish_in_their_own_transaction(rig, database):
    rig.end_workers()
    database.lose_everything()

    async def work() -> None:
        async with await psycopg.AsyncConnection.connect(database.url) as on:
            with pytest.raises(WrongConnection, match="apublish"):
                publish(Happened(number=rig.number()), on=on)
            await apublish(Happened(number=rig.number()), on=on)
            await on.rollback()
            await apublish(Happened(number=rig.number()), on=on)

    asyncio.run(work())
    assert database.jobs("todo") == [ACT]


def test_the_transaction_of_a_session_of_sqlalchemy_is_joined_by_its_driver_s_connection(rig, database):
    rig.end_workers()
    database.lose_everything()
    engine = sqlalchemy.create_engine(database.url.replace("postgresql:", "postgresql+psycopg:"))
    for end in (Session.rollback, Session.commit):
        with Session(engine) as session:
            connection = session.connection().connection.driver_connection
            publish(Happened(number=rig.number()), on=connection)
            end(session)
    engine.dispose()
    assert database.jobs("todo") == [ACT]
    with Session(engine) as session, pytest.raises(WrongConnection, match="driver_connection"):
        publish(Happened(number=rig.number()), on=session)
    database.lose_everything()


def test_what_cannot_be_joined_is_refused(rig, database):
    event = Happened(number=rig.number())
    with pytest.raises(NoTransaction, match="on=connection"):
        publish(event)
    with pytest.raises(WrongConnection, match=r"not of builtins\.str"):
        publish(event, on="default")
    with (
        psycopg.connect(database.url, autocommit=True) as on,
        pytest.raises(NoTransaction, match="autocommit"),
    ):
        publish(event, on=on)
    with psycopg.connect(database.url) as on:
        with pytest.raises(psycopg.errors.DivisionByZero):
            on.execute("SELECT 1 / 0")
        with pytest.raises(WrongConnection, match="its transaction has failed"):
            publish(event, on=on)
    with pytest.raises(WrongConnection, match="is closed"):
        publish(event, on=on)
    with psycopg.connect(new_database()) as on, pytest.raises(PublishError, match="schema --apply") as caught:
        publish(event, on=on)
    assert caught.value.subscriptions == ("engine_contract.act:engine_contract.happened",)


def test_of_several_workers_that_look_for_the_jobs_of_dead_ones_one_gives_each_back(rig, database, caplog):
    rig.end_workers()
    database.lose_everything()
    dead, alive = (
        database.execute(f"INSERT INTO procrastinate_workers (last_heartbeat) VALUES ({at}) RETURNING id")[0][
            0
        ]
        for at in ("now() - interval '31 seconds'", "now()")
    )
    left = [(ACT, None, "f"), (ACT, dead, "f"), (ACT, alive, "f"), ("greet", None, "f"), (ACT, dead, "t")]
    for row in left:
        database.execute(
            "INSERT INTO procrastinate_jobs (queue_name, status, task_name, worker_id, abort_requested)"
            " VALUES ('default', 'doing', %s, %s, %s)",
            *row,
        )

    async def look() -> None:
        async with contextlib.AsyncExitStack() as stack:
            workers = []
            for _ in range(4):
                app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=database.url))
                await stack.enter_async_context(app.open_async())
                workers.append(Worker(app))
            await asyncio.gather(*(Rescue([ACT]).rescue(each) for each in workers))

    asyncio.run(look())
    rows = database.execute("SELECT status::text, attempts FROM procrastinate_jobs ORDER BY id")
    assert rows == [("todo", 1), ("todo", 1), ("doing", 0), ("doing", 0), ("failed", 1)]
    assert caplog.text.count("had a worker that died") == 3
    database.lose_everything()


def test_every_kind_of_subscriber_hears_of_it(rig, connection):
    rig.at_least(1)
    numbers = [rig.number(), rig.number()]
    began = time.monotonic()
    publish_many([Told(number=each) for each in numbers], on=connection)
    connection.commit()
    for name in ("await_it", "hear_later", "hasty", "limited_coroutine"):
        rig.until(lambda name=name: all(rig.count("done", name)[each] == 1 for each in numbers))
    assert rig.moments("done", "hear_later", numbers[0])[0] - began >= DELAY.total_seconds()
    assert [rig.count("done", "hear_even")[each] for each in numbers] == [each % 2 == 0 for each in numbers]


def test_attempts_are_counted_and_the_last_one_is_a_failed_job(rig, database, connection):
    rig.at_least(1)
    words = {"fail-below 3": 3, "fail-below 9": 3, "retry-in": 2, "park": 1, "ignore": 1, "sys-exit": 2}
    numbers = {word: rig.number() for word in words}
    publish_many([Happened(number=number, what=word) for word, number in numbers.items()], on=connection)
    connection.commit()
    for word, starts in words.items():
        rig.until(lambda word=word, starts=starts: rig.count("start", "act")[numbers[word]] == starts)
    rig.until(lambda: database.jobs("failed") == [ACT, ACT])
    rig.until(lambda: not database.jobs("todo") and not database.jobs("doing"))
    assert "parked: attempts: ValueError" in rig.output()
    assert "parked: subscriber: Park" in rig.output()
    assert [rig.count("start", "act")[numbers[word]] for word in words] == list(words.values())
    database.lose_everything()


def test_an_event_that_fails_leaves_its_group(rig, connection):
    rig.at_least(1)
    numbers = [rig.number() for _ in range(3)]
    publish_many(
        [Grouped(number=each, what="fail" if each == numbers[1] else "") for each in numbers], on=connection
    )
    connection.commit()
    for name in ("one_of_a_group", "whole_group"):
        rig.until(lambda name=name: all(rig.count("done", name)[each] for each in numbers))
        assert [rig.count("start", name)[each] for each in numbers] == [1, 2, 1]


def test_a_job_whose_worker_is_killed_is_given_back(rig, database, connection):
    rig.end_workers()
    rig.at_least(1)
    number = rig.number()
    publish(Happened(number=number, what="sleep 2"), on=connection)
    connection.commit()
    rig.until(lambda: rig.count("start", "act")[number] == 1)
    os.kill(rig.running()[0].pid, signal.SIGKILL)
    rig.running()[0].wait()
    assert database.jobs("doing") == [ACT]
    rig.at_least(1)
    time.sleep(1)
    assert database.jobs("doing") == [ACT], "its worker may only be slow"
    database.execute(
        "UPDATE procrastinate_workers SET last_heartbeat = now() - interval '31 seconds'"
        " WHERE id < (SELECT max(id) FROM procrastinate_workers)"
    )
    rig.until(lambda: rig.count("done", "act")[number] == 1)
    assert rig.count("start", "act")[number] == 2
    assert "had a worker that died, and is given back" in rig.output()


def test_forged_jobs_fail_and_call_nobody(rig, database, connection):
    rig.end_workers()
    database.lose_everything()
    rig.at_least(1)
    number = rig.number()
    (record,) = rig.store.records([Happened(number=number)])
    good = {
        "subscription": "engine_contract.act:engine_contract.happened", "envelopes": [record.text.decode()],
        "recheck": False, "attempts": 0, "waited": 0,
    }  # fmt: skip
    forged = [None, 7, [1], {}, good | {"envelopes": [1]}, good | {"attempts": -1}, good | {"more": 1}]
    for each in [*forged, good | {"envelopes": ["{"]}, good | {"subscription": "engine_contract.act:no"}]:
        rig.kind.send(ACT, each)
    rig.until(lambda: len(database.jobs("failed")) == len(forged) + 2)
    assert "no code that knows engine_contract.act:no came in" in rig.output()
    assert not rig.count("start", "act")[number]
    rig.kind.send(ACT, good)
    rig.until(lambda: rig.count("done", "act")[number] == 1)


def test_doctor_prints_the_promise(rig):
    levels = [level for level, _ in rig.store.ledger.findings()]
    assert levels == ["ok", "warning"]
    assert "a job commits with the business rows" in next(iter(rig.store.ledger.findings()))[1]


def test_django_s_own_transaction_is_joined_without_naming_it():
    done = subprocess.run(
        [sys.executable, "-m", "tests.engines.procrastinate.django_handoff"],
        env=os.environ | {"BROKER": new_database()}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        "committed 3", "rolled back 3", "alone 5", "refused True", "strict 5", "joined 6",
    ], done.stderr  # fmt: skip
    assert done.stderr.count("so jobs of engine_contract.act are committed alone") == 2
