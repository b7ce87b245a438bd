"""What is special to Procrastinate: one statement, what is swept from its tables, and what doctor says."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
import traceback
from datetime import timedelta

import procrastinate
import psycopg
import pytest
from procrastinate.testing import InMemoryConnector
from psycopg_pool import AsyncConnectionPool

from tests.engines.procrastinate.test_contract import ProcrastinateKind
from tests.servers import new_database
from whereupon import EventStore, SQLiteLedger, publish, publish_many, subscribe, subscriber
from whereupon.engine_protocol import WakeUp
from whereupon.engines.procrastinate import ProcrastinateEngine
from whereupon.errors import EngineUnavailable, InvalidConfiguration, InvalidStore
from whereupon.testing import engine_contract
from whereupon.testing.engine_contract.app import Happened, Told

pytestmark = pytest.mark.slow

ACT = "engine_contract.act"


@pytest.fixture
def kind(tmp_path, database):
    database.lose_everything()
    kind = ProcrastinateKind(tmp_path, database, PAUSE="1")
    yield kind
    kind.close()


@pytest.fixture
def engine(kind):
    return kind.store.engine


def wake_ups(kind) -> list[WakeUp]:
    return [WakeUp(number, each.subscriber) for number, each in enumerate(kind.store.routes)]


def engine_at(url: str) -> ProcrastinateEngine:
    return ProcrastinateEngine(procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=url)))


def test_jobs_of_many_subscribers_and_queues_take_one_statement(kind, database):
    jobs = wake_ups(kind)[:20]
    assert {each.subscriber.options.queue for each in jobs} == {"default", "other"}
    engine = engine_at(database.url)
    with database.statements() as statements:
        engine.enqueue(jobs)
        engine.close()
        (statement,) = statements()
    assert "execute <unnamed>: SELECT  unnest(" in statement
    assert (len(jobs), len(database.jobs("todo"))) == (20, 20)
    assert engine.features.one_round_trip


def test_all_jobs_arrive_or_none(kind, engine, database):
    database.execute("ALTER TABLE procrastinate_jobs ADD CONSTRAINT few CHECK (args->'whereupon'->>0 <> '7')")
    try:
        with pytest.raises(EngineUnavailable, match="CheckViolation"):
            engine.enqueue(wake_ups(kind)[:10])
        assert database.jobs("todo") == []
    finally:
        database.execute("ALTER TABLE procrastinate_jobs DROP CONSTRAINT few")
    engine.enqueue(wake_ups(kind)[:10])
    assert len(database.jobs("todo")) == 10


def test_a_job_of_high_priority_is_taken_first(kind, engine, database):
    by_name = {each.subscriber.name: each.subscriber for each in kind.store.routes}
    engine.enqueue([WakeUp(1, by_name["act"]), WakeUp(2, by_name["hasty"])])
    ((worker,),) = database.execute("SELECT * FROM procrastinate_register_worker_v1()")
    first = database.execute("SELECT task_name FROM procrastinate_fetch_job_v2(NULL, %s)", worker)
    assert first == [("engine_contract.hasty",)]


def test_wake_ups_that_have_ended_are_deleted_and_the_team_s_jobs_stay(kind, engine, database):
    old, alive = (
        database.execute(
            f"INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now() {age}) RETURNING id"
        )
        for age in ("- interval '1 hour'", "+ interval '1 hour'")
    )
    left = [
        (ACT, "succeeded", None), (ACT, "failed", None), (ACT, "doing", None), (ACT, "doing", old[0][0]),
        (ACT, "doing", alive[0][0]), ("greet", "doing", None), ("greet", "succeeded", None),
    ]  # fmt: skip
    for row in left:
        database.execute(
            "INSERT INTO procrastinate_jobs (queue_name, task_name, status, worker_id)"
            " VALUES ('default', %s, %s, %s)",
            *row,
        )
    with engine_contract.Rig(kind) as rig:
        rig.at_least(1)
        rig.until(lambda: database.jobs("doing") == [ACT, "greet"])
        kind.app.configure_task("greet").defer(whom="world")
        publish_many(
            [Happened(number=rig.number(), what=what) for what in ("", "park", "fail-below 2", "sys-exit")]
        )
        kind.send(ACT, "forged")
        rig.until_quiet()
        rig.until(lambda: database.jobs("succeeded") == ["greet", "greet"])
        rig.until(lambda: ACT not in database.jobs("failed"))
        publish(Happened(number=rig.number()))
        rig.until_quiet()
        (running,) = rig.running()
        running.terminate()
        assert running.wait(20) == 0
        assert database.jobs("succeeded") == ["greet", "greet"], "a worker that ends sweeps at last"
    assert database.jobs("doing") == [ACT, "greet"], "those of others, the one of a worker that lives"


@pytest.mark.exhaustive
def test_a_job_of_a_killed_worker_is_swept_when_its_worker_is_given_up(kind, database):
    with engine_contract.Rig(kind) as rig:
        rig.at_least(1)
        publish(Happened(number=1, what="sleep 2"))
        rig.until(lambda: rig.count("start", "act")[1])
        rig.kill(rig.running()[0])
        assert database.jobs("doing") == [ACT]
        database.execute("UPDATE procrastinate_workers SET last_heartbeat = now() - interval '40 seconds'")
        rig.at_least(1)
        rig.until_quiet()
        rig.until(lambda: not database.jobs("doing") and not database.jobs("succeeded"))
        assert rig.count("done", "act") == {1: 1}


def test_rows_that_procrastinate_cannot_read_do_not_end_a_worker(kind, database):
    with engine_contract.Rig(kind) as rig:
        rig.at_least(1)
        for arguments in ("[1]", '"x"', "7", "null"):
            database.execute(
                "INSERT INTO procrastinate_jobs (queue_name, task_name, args) VALUES ('default', %s, %s)",
                *(ACT, arguments),
            )
        rig.until(lambda: not database.jobs("todo"))
        publish(Happened(number=1))
        rig.until_quiet()
        assert rig.count("done", "act") == {1: 1}


def test_as_many_jobs_run_at_once_as_the_worker_says(tmp_path, database):
    class Wide(ProcrastinateKind):
        def command(self, number) -> list[str]:
            return [*super().command(number), "--concurrency=40"]

    database.lose_everything()
    kind = Wide(tmp_path, database)
    with engine_contract.Rig(kind) as rig:
        rig.at_least(1)
        publish_many([Happened(number=number, what="sleep 4") for number in range(40)])
        rig.until(lambda: len(rig.count("start", "act")) == 40)
        assert not rig.count("done", "act")
    kind.close()


def test_a_subscriber_that_is_a_function_does_not_hold_up_the_worker_s_loop(kind, database):
    with engine_contract.Rig(kind) as rig:
        rig.at_least(1)
        publish(Happened(number=1, what="sleep 3"))
        rig.until(lambda: rig.count("start", "act")[1])
        kind.app.configure_task("greet").defer(whom="world")
        rig.until(lambda: "greet" in database.jobs("succeeded"), 2)
        assert not rig.count("done", "act")


def test_doctor_says_whether_the_database_answers_and_which_queues_nobody_looks_after(kind, engine, database):
    database.execute("DELETE FROM procrastinate_workers")
    assert list(engine.findings()) == [
        ("ok", f"Procrastinate's database postgresql://127.0.0.1:{database.port}/postgres answers"),
        ("error", "no worker of Procrastinate lives; start one: procrastinate --app=… worker"),
    ]
    engine.enqueue([each for each in wake_ups(kind) if each.subscriber.options.queue == "other"])
    database.execute("SELECT procrastinate_register_worker_v1()")
    assert [level for level, _ in engine.findings()] == ["ok", "ok"]
    database.execute("UPDATE procrastinate_events SET at = at - interval '31 seconds'")
    assert list(engine.findings())[2:] == [
        ("error", "nobody takes jobs from the queue other; start a worker with -q other")
    ]
    database.execute(
        "UPDATE procrastinate_jobs SET status = 'doing' WHERE id = (SELECT min(id) FROM procrastinate_jobs)"
    )
    assert len(list(engine.findings())) == 2


@pytest.mark.parametrize("user", ["", "eve:secret@"])
def test_a_database_that_takes_no_jobs_is_named_at_once(kind, database, user):
    port = database.port if user else 1
    engine = engine_at(f"postgresql://{user}127.0.0.1:{port}/postgres")
    began = time.monotonic()
    with pytest.raises(EngineUnavailable, match=rf"127\.0\.0\.1:{port}(?s:.)*postgresql") as caught:
        engine.enqueue(wake_ups(kind)[:1])
    assert time.monotonic() - began < 2
    assert "secret" not in str(caught.value)
    ((level, text),) = engine.findings()
    assert (level, "does not take jobs" in text) == ("error", True)


def test_a_database_without_procrastinate_s_tables_is_said_to_be_one(kind):
    with pytest.raises(EngineUnavailable, match=r"no tables of Procrastinate(?s:.)*schema --apply"):
        engine_at(new_database()).enqueue(wake_ups(kind)[:1])


def test_a_role_that_may_not_write_jobs_is_said_to_be_one(kind, database):
    database.execute("DROP ROLE IF EXISTS mallory")
    database.execute("CREATE ROLE mallory LOGIN")
    with pytest.raises(EngineUnavailable, match=r"permission denied(?s:.)*grant its role"):
        engine_at(database.url.replace("whereupon@", "mallory@")).enqueue(wake_ups(kind)[:1])


async def later() -> str:
    return "postgresql://"


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"conninfo": later}, "conninfo= (?s:.)* is a coroutine function"),
        ({"conninfo": "password=a secret"}, "that libpq cannot read"),
        ({"kwargs": {"passwort": "secret"}}, "that libpq cannot read"),
    ],
)
def test_a_connector_that_leads_nowhere_is_named_without_its_password(kind, given, problem):
    engine = ProcrastinateEngine(procrastinate.App(connector=procrastinate.PsycopgConnector(**given)))
    with pytest.raises(InvalidConfiguration, match=problem) as caught:
        engine.enqueue(wake_ups(kind)[:1])
    assert "secret" not in "".join(traceback.format_exception(caught.value))
    assert next(iter(engine.findings()))[0] == "error"


def test_a_worker_on_a_pool_that_the_helper_cannot_know_does_not_start(kind, database):
    async def work(connector: procrastinate.PsycopgConnector) -> None:
        app = procrastinate.App(connector=connector)
        ProcrastinateEngine(app, store_name=kind.store_name).register(kind.store)
        async with AsyncConnectionPool(database.url, open=False) as pool, app.open_async(pool):
            await app.run_worker_async(wait=False)

    with pytest.raises(InvalidConfiguration, match=r"only the pool(?s:.)*say conninfo="):
        asyncio.run(work(procrastinate.PsycopgConnector()))
    asyncio.run(work(procrastinate.PsycopgConnector(conninfo=database.url)))


def test_a_database_that_does_not_answer_holds_up_nobody(kind, engine, database):
    engine.enqueue(wake_ups(kind)[:1])
    with database.stopped():
        for _ in range(2):  # on a connection that is open, and while one is opened
            began = time.monotonic()
            with pytest.raises(EngineUnavailable):
                engine.enqueue(wake_ups(kind)[:1])
            assert time.monotonic() - began < 8
    database.lose_everything()
    engine.enqueue(wake_ups(kind)[:1])
    assert len(database.jobs("todo")) == 1


def test_a_locked_table_holds_up_nobody_and_nothing_is_sent_behind_it(kind, engine, database):
    engine.enqueue(wake_ups(kind)[:1])
    with psycopg.connect(database.url) as connection:
        connection.execute("LOCK TABLE procrastinate_jobs")
        began = time.monotonic()
        with pytest.raises(EngineUnavailable, match="QueryCanceled"):
            engine.enqueue(wake_ups(kind)[:2])
        assert time.monotonic() - began < 4
    assert len(database.jobs("todo")) == 1


def test_options_that_procrastinate_cannot_honour_are_refused(tmp_path):
    @subscriber(timeout=timedelta(seconds=1), name="hasty")
    def hasty(event: Happened) -> None: ...

    @subscriber(queue="q" * 129, name="far")
    def far(event: Happened) -> None: ...

    @subscriber(timeout=timedelta(seconds=1), name="coroutine")
    async def coroutine(event: Happened) -> None: ...

    with pytest.raises(InvalidStore) as caught:
        EventStore(
            subscriptions=[subscribe(each, to=Happened) for each in (hasty, far, coroutine)],
            ledger=SQLiteLedger(tmp_path / "ledger.sqlite3"),
            engine=engine_at("postgresql://127.0.0.1/"),
        )
    assert "cannot stop a function, and hasty says timeout=" in str(caught.value)
    assert "names of 128 characters" in str(caught.value)
    assert "coroutine" not in str(caught.value)


def test_a_connector_that_is_not_of_psycopg_3_is_refused_when_jobs_are_sent_and_when_a_worker_starts(kind):
    app = procrastinate.App(connector=InMemoryConnector())
    engine = ProcrastinateEngine(app)
    engine.register(kind.store)
    with pytest.raises(InvalidConfiguration, match="InMemoryConnector"):
        engine.enqueue(wake_ups(kind)[:1])
    assert "InMemoryConnector" in next(iter(engine.findings()))[1]
    with pytest.raises(InvalidConfiguration, match="InMemoryConnector"):
        asyncio.run(app.run_worker_async(wait=False))


def test_a_task_of_the_same_name_is_not_taken_for_ours(kind):
    app = procrastinate.App(connector=InMemoryConnector())
    app.task(name=ACT)(lambda: None)
    with pytest.raises(InvalidConfiguration, match=rf"has a task called {ACT} already"):
        ProcrastinateEngine(app).register(kind.store)


def test_a_task_that_the_team_has_already_is_subscribed_as_it_is(tmp_path):
    app = procrastinate.App(connector=InMemoryConnector())

    @subscriber(name="charge", queue="money")
    @app.task(name="billing.charge")
    async def charge(told: Told | int) -> None: ...

    engine = ProcrastinateEngine(app)
    store = EventStore(
        subscriptions=[subscribe(charge, to=Told)], ledger=SQLiteLedger(tmp_path / "ledger"), engine=engine
    )
    engine.register(store)
    assert set(app.tasks) >= {"billing.charge", "procrastinate.charge"}
    assert app.tasks["procrastinate.charge"].queue == "money"


def test_a_worker_whose_store_no_helper_could_find_does_not_start(kind):
    done = subprocess.run(
        kind.command(0), cwd=kind.folder, capture_output=True, text=True, timeout=30,
        env=os.environ | {"HIDDEN": "1", "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
    )  # fmt: skip
    assert done.returncode == 1
    assert "the store is found in no module" in done.stderr
    assert 'fix: store_name="shop.event_store:store"' in done.stderr


def test_django_s_apps_in_the_wrong_order_are_said_to_be_so(database):
    settings = "tests.engines.procrastinate.django_settings"
    done = subprocess.run(
        [sys.executable, "-m", "django", "check", f"--settings={settings}"],
        capture_output=True, text=True, timeout=30,
        env=os.environ
        | {"BROKER": database.url, "DJANGO_STORE": "tests.engines.procrastinate.django_store.store"}
        | {"WRONG_ORDER": "1"},
    )  # fmt: skip
    assert "Django is not ready when the store is installed" in done.stderr
    assert "name procrastinate.contrib.django before whereupon.contrib.django" in done.stderr
