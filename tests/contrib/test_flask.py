"""The extension of Flask: the store, the commands, and workers beside the application."""

from __future__ import annotations

import time

import pytest
from flask import Flask

from tests.contrib.shop import SHOP, Created, make_store
from whereupon import publish
from whereupon.contrib.flask import Whereupon
from whereupon.errors import InvalidConfiguration, StoreConflict
from whereupon.store import installed, swap
from whereupon.testing import published


@pytest.fixture(autouse=True)
def _no_store(monkeypatch):
    monkeypatch.setenv("WHEREUPON_STORE", "")
    monkeypatch.delenv("WHEREUPON_STORE")
    previous = swap(None)
    yield
    swap(previous)


def test_the_store_is_installed(tmp_path):
    store = make_store(tmp_path)
    app = Flask("shop")
    extension = Whereupon(store=store)
    extension.init_app(app)
    assert installed() is store
    assert app.extensions["whereupon"] is store
    extension.init_app(Flask("again"))
    with pytest.raises(StoreConflict):
        Whereupon(Flask("other"), make_store(tmp_path))


def test_a_recorder_stays(tmp_path):
    store = make_store(tmp_path)
    swap(store)
    with published() as events:
        app = Flask("shop")
        Whereupon(app, store)

        @app.post("/created")
        def create() -> str:
            return publish(Created(number=1)).id

        assert app.test_client().post("/created").status_code == 200
        assert events == [Created(number=1)]


def test_without_a_store():
    with pytest.raises(InvalidConfiguration, match="no store"):
        Whereupon(Flask("shop"))


def test_the_commands_know_the_store(package):
    shop = package({"event_store.py": SHOP}, "event_store")
    app = Flask("shop")
    Whereupon(app, shop.store)
    run = app.test_cli_runner()
    done = run.invoke(args=["whereupon", "ledger", "migrate"])
    assert done.exit_code == 0, done.output
    assert "from version 0 to 1" in done.output
    done = run.invoke(args=["whereupon", "list"])
    assert "on_created" in done.output
    done = run.invoke(args=["whereupon", "why", "shop.nothing"])
    assert done.exit_code == 1


@pytest.mark.slow
def test_workers_run_beside_it_from_the_first_request_on(package):
    shop = package({"event_store.py": SHOP}, "event_store")
    shop.ledger.migrate()
    app = Flask("shop")
    extension = Whereupon(app, shop.store, worker=True)

    @app.post("/created")
    def create() -> str:
        return publish(shop.Created(number=1)).id

    for _ in range(2):
        assert app.test_client().post("/created").status_code == 200
    deadline = time.monotonic() + 20
    while not (shop.FOLDER / "handled-1").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    extension._beside.stop()
