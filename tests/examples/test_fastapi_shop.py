"""The example fastapi_shop: its contexts one by one with the test tools, and the real thing over HTTP."""

from __future__ import annotations

import asyncio
import importlib
import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from tests.servers import free_port, new_database

from whereupon import IGNORED, Envelope
from whereupon.envelopes import handled
from whereupon.store import swap
from whereupon.testing import aconsume, adeliver_all, assert_not_dispatched, expected, published, publishes

EXAMPLES = Path(__file__).parents[2] / "examples"


def forget() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "fastapi_shop"]:
        del sys.modules[name]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path) -> str:
    return f"sqlite:///{tmp_path}/shop.sqlite3" if request.param == "sqlite" else new_database()


@pytest.fixture
def shop(url, monkeypatch):
    """Return a function that imports a module of the application, which has a database of its own."""
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.syspath_prepend(str(EXAMPLES))
    forget()

    def module(name: str):
        return importlib.import_module(f"fastapi_shop.{name}")

    asyncio.run(module("seeds").prepare())
    previous = swap(module("event_store").store)
    yield module
    swap(previous)
    forget()


@pytest.fixture
def run(shop):
    """Return a function that runs a coroutine, and ends the engine's connections with its loop."""

    def running(coroutine):
        async def with_engine():
            try:
                return await coroutine
            finally:
                await shop("database").engine.dispose()

        return asyncio.run(with_engine())

    return running


async def checkout(shop, **wanted) -> httpx.Response:
    transport = httpx.ASGITransport(shop("app").app)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        return await client.post("/checkout", json=wanted)


async def story(shop, order: int) -> dict:
    transport = httpx.ASGITransport(shop("app").app)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        return (await client.get(f"/orders/{order}")).json()


def test_a_checkout_publishes_what_was_bought(shop, run):
    OrderPlaced = shop("orders.events").OrderPlaced
    with publishes(OrderPlaced, order_id=1, total_cents=2400, customer="ada"):
        assert run(checkout(shop, sku="mug", quantity=2, customer="ada")).json() == {"order": 1}


def test_a_checkout_that_fails_publishes_nothing_and_leaves_no_order(shop, run):
    with published() as events:
        response = run(checkout(shop, sku="poster", quantity=4))
    assert (response.status_code, response.json()) == (409, {"detail": "there are fewer than 4 of poster"})
    assert events == []
    assert run(story(shop, 1)) == {"detail": "there is no order 1"}


def test_the_ledger_agrees_that_nothing_was_published(shop, run):
    run(checkout(shop, sku="poster", quantity=4))
    run(checkout(shop, sku="poster", quantity=3))
    with shop("event_store").store.ledger.reading() as transaction:
        assert transaction.rows("SELECT count(*) FROM whereupon_event") == [(1,)]


def test_everybody_does_his_part(shop, run):
    OrderPlaced, InvoiceIssued = shop("orders.events").OrderPlaced, shop("billing.events").InvoiceIssued

    async def buying() -> dict:
        with published() as events:
            await checkout(shop, customer="ada")
            assert await adeliver_all() == 4
            assert events == [expected(OrderPlaced, order_id=1, total_cents=1200, customer="ada"),
                              InvoiceIssued(order_id=1, number="INV-00001")]  # fmt: skip
        return await story(shop, 1)

    assert run(buying()) == {
        "order": 1, "status": "invoiced", "invoice": "INV-00001", "parcel": "ada", "points": 12,
    }  # fmt: skip


def test_billing_publishes_the_invoice_in_the_flow_of_the_order(shop, run):
    OrderPlaced = shop("orders.events").OrderPlaced
    seen: list[Envelope | None] = []

    async def billing() -> None:
        with published() as events:
            await aconsume(shop("billing.subscribers").issue_invoice, OrderPlaced(order_id=7, total_cents=5))
            seen.extend(events.envelopes)

    run(billing())
    assert seen[0].causation_id
    assert handled.get() is None


def test_guests_get_no_points(shop, run):
    OrderPlaced = shop("orders.events").OrderPlaced
    give_points = shop("loyalty.subscribers").give_points
    assert run(aconsume(give_points, OrderPlaced(order_id=1, total_cents=900))) is IGNORED


def test_what_cannot_be_touched_is_not_shipped(shop):
    OrderPlaced = shop("orders.events").OrderPlaced
    pack_parcel = shop("shipping.subscribers").pack_parcel
    assert_not_dispatched(pack_parcel, OrderPlaced(order_id=1, total_cents=500, is_digital=True))


@pytest.mark.slow
@pytest.mark.parametrize("how", [["-m", "fastapi_shop"], [str(EXAMPLES / "fastapi_shop")]])
def test_the_real_thing_over_http(url, tmp_path, how):
    port = free_port()
    environment = os.environ | {"DATABASE_URL": url, "PORT": str(port), "PYTHONUNBUFFERED": "1"}
    log = tmp_path / "shop.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, *how], cwd=EXAMPLES, env=environment, stdout=output, stderr=output
        )  # fmt: skip
    try:
        drive(f"http://127.0.0.1:{port}", log)
        server.terminate()
        assert server.wait(30) in (0, -15)
    finally:
        server.kill()
        server.wait()
    assert f"the shop is at http://127.0.0.1:{port}" in log.read_text()
    assert "Traceback" not in log.read_text()


def drive(url: str, log: Path) -> None:
    with httpx.Client(base_url=url) as client:
        until(lambda: client.get("/products").status_code == 200, log)
        assert client.post("/checkout", json={"customer": "ada"}).json() == {"order": 1}
        assert client.post("/checkout", json={"sku": "poster", "quantity": 4}).status_code == 409
        assert client.post("/checkout", json={"sku": "ebook"}).status_code == 201
        until(lambda: client.get("/orders/1").json()["points"], log)
        until(lambda: client.get("/orders/1").json()["status"] == "invoiced", log)
        until(lambda: client.get("/orders/1").json()["parcel"] == "ada", log)
        last = max(each for each in (2, 3) if client.get(f"/orders/{each}").status_code == 200)
        until(lambda: client.get(f"/orders/{last}").json()["status"] == "invoiced", log)
        order = client.get(f"/orders/{last}").json()
        assert (order["parcel"], order["points"]) == (None, None)
        assert client.get("/products").json() == {"ebook": 999, "mug": 49, "poster": 3}


def until(condition, log: Path, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
