"""Starting and ending with an application: the store, the ledger, and workers beside it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette

from tests.contrib.shop import SHOP, Created, make_store, running
from whereupon import EventStore, publish
from whereupon.contrib.fastapi import lifespan
from whereupon.engines.beside import name_of
from whereupon.errors import InvalidConfiguration, LedgerMissing, StoreConflict
from whereupon.store import installed, swap
from whereupon.testing import published


@pytest.fixture(autouse=True)
def _no_store():
    previous = swap(None)
    yield
    swap(previous)


def application(store: EventStore, **options) -> FastAPI:
    app = FastAPI(lifespan=lifespan(store, **options))

    @app.post("/created/{number}")
    def create(number: int) -> str:
        return publish(Created(number=number)).id

    return app


@pytest.mark.asyncio
async def test_the_store_is_installed_from_start_to_end_and_again(tmp_path):
    store = make_store(tmp_path)
    app = application(store)
    for _ in range(2):
        async with running(app) as client:
            assert installed() is store
            assert (await client.post("/created/1")).status_code == 200
        assert installed() is None


@pytest.mark.asyncio
async def test_an_application_made_anew_with_another_store_does_not_conflict(tmp_path):
    for _ in range(2):
        async with running(application(make_store(tmp_path))) as client:
            assert (await client.post("/created/1")).status_code == 200


@pytest.mark.asyncio
async def test_two_stores_at_once_conflict(tmp_path):
    make_store(tmp_path).install()
    with pytest.raises(StoreConflict):
        async with running(application(make_store(tmp_path))):
            pass


@pytest.mark.asyncio
async def test_a_store_that_was_installed_before_stays(tmp_path):
    store = make_store(tmp_path)
    store.install()
    async with running(application(store)):
        pass
    assert installed() is store


@pytest.mark.asyncio
async def test_a_recorder_of_the_store_stays(tmp_path):
    store = make_store(tmp_path)
    swap(store)
    with published() as events:
        async with running(application(store)) as client:
            await client.post("/created/1")
        assert events == [Created(number=1)]


@pytest.mark.asyncio
async def test_without_a_ledger_the_application_does_not_start(tmp_path):
    with pytest.raises(LedgerMissing, match="whereupon ledger migrate"):
        async with running(application(make_store(tmp_path, migrated=False))):
            pass
    assert installed() is None


@pytest.mark.asyncio
async def test_it_goes_around_the_applications_own_lifespan(tmp_path):
    store = make_store(tmp_path, migrated=False)
    seen = []

    @contextlib.asynccontextmanager
    async def own(app):
        store.ledger.migrate()
        publish(Created(number=1))
        yield {"own": "state"}
        seen.append(installed() is store)

    app = application(store, wraps=own)
    async with app.router.lifespan_context(app) as state:
        assert state == {"own": "state"}
    assert seen == [True]


@pytest.mark.asyncio
async def test_starlette_takes_it_too(tmp_path):
    store = make_store(tmp_path)
    async with running(Starlette(lifespan=lifespan(store))):
        assert installed() is store


def test_the_name_of_a_store(tmp_path, package, monkeypatch):
    with pytest.raises(InvalidConfiguration, match="found in no module"):
        name_of(make_store(tmp_path))
    assert name_of(make_store(tmp_path), "shop.event_store:store") == "shop.event_store:store"
    source = (
        "from whereupon import EventStore, SQLiteLedger\n"
        "store = EventStore(subscriptions=[], ledger=SQLiteLedger('x.sqlite3'))"
    )
    sources = {"event_store.py": source, "main.py": "from ROOT.event_store import store"}
    store = package(sources, "main").store
    root = Path(sys.modules[package({}, "main").__name__].__file__).parent.name
    assert name_of(store) == f"{root}.event_store:store"
    other = package({"one.py": source, "two.py": "from ROOT.one import store"}, "two").store
    with pytest.raises(InvalidConfiguration, match=rf"{root}\.one:store, {root}\.two:store"):
        name_of(other)
    monkeypatch.setenv("WHEREUPON_STORE", f"{root}.one:store")
    assert name_of(other) == f"{root}.one:store"


def until(condition, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] not in "ZX"


@pytest.mark.slow
@pytest.mark.asyncio
async def test_workers_run_beside_the_application_and_end_with_it(package):
    shop = package({"event_store.py": SHOP}, "event_store")
    shop.ledger.migrate()
    app = FastAPI(lifespan=lifespan(shop.store, worker=True))
    async with running(app):
        publish(shop.Created(number=1))
        handled = shop.FOLDER / "handled-1"
        await asyncio.to_thread(until, lambda: handled.exists() and handled.read_text())
        pid = int(handled.read_text())
        assert pid != os.getpid()
    until(lambda: not is_alive(pid), 5)


@pytest.mark.slow
def test_workers_end_with_an_application_that_is_killed(package, tmp_path):
    shop = package({"event_store.py": SHOP}, "event_store")
    shop.ledger.migrate()
    code = f"""
import time
from whereupon.engines.local.beside import WorkerBeside
beside = WorkerBeside("{shop.__name__}:store")
print(beside.pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        stderr=subprocess.DEVNULL,
    ) as application:
        pid = int(application.stdout.readline())
        shop.store.install()
        publish(shop.Created(number=1))
        until((shop.FOLDER / "handled-1").exists)
        application.send_signal(signal.SIGKILL)
    until(lambda: not is_alive(pid), 15)
