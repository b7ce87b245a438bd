"""The page about adopting it: its files make a shop, whose Celery worker is the only one that there is."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.broker_servers import Redis

PAGE = (Path(__file__).parents[2] / "docs" / "adoption.md").read_text()
FILES = re.findall(r"^```python title=\"([^\"]+)\"\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
SURROUNDINGS = {
    "shop/celery.py": """
import os
from celery import Celery

app = Celery("shop", broker=os.environ["BROKER"])
""",
    "shop/orders/events.py": """
from whereupon import Event

class OrderPlaced(Event):
    order_id: int
""",
    "shop/bookkeeping/tasks.py": """
from celery import shared_task

@shared_task
def book(kind: str, *, order_id: int) -> None:
    print(f"{kind} of order {order_id} is booked")
""",
    "shop/billing/subscriptions.py": """
from shop.billing.tasks import send_invoice
from shop.bookkeeping.subscribers import book_order
from shop.orders.events import OrderPlaced
from whereupon import subscribe

subscriptions = [subscribe(send_invoice, to=OrderPlaced), subscribe(book_order, to=OrderPlaced)]
""",
    "shop/main.py": """
from shop.celery import app
from shop.event_store import store

store.install()
""",
}
ELSEWHERE = (
    ("from whereupon.contrib.django import DjangoLedger", "from whereupon import SQLiteLedger"),
    ("DjangoLedger()", 'SQLiteLedger("shop.sqlite3", own_transaction=True)'),
)
"""The page is about Django; its shop here has a file."""
PUBLISHER = """
from shop.main import store
from shop.billing.tasks import send_invoice
from shop.orders.events import OrderPlaced
from whereupon import publish

store.ledger.migrate()
publish(OrderPlaced(order_id=7))
send_invoice.delay(8)
store.engine.close()
"""
PRINTED = {"invoice for order 7", "invoice for order 8", "sale of order 7 is booked"}


@pytest.fixture
def shop(tmp_path):
    for name, text in (SURROUNDINGS | dict(FILES)).items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        for theirs, ours in ELSEWHERE if name.endswith("event_store.py") else ():
            assert theirs in text
            text = text.replace(theirs, ours)
        path.write_text(text)
    return tmp_path


@pytest.fixture
def environment(shop):
    server = Redis()
    yield os.environ | {"BROKER": server.url, "PYTHONPATH": str(shop)}
    server.end()


@pytest.mark.slow
def test_both_ways_of_the_page_hear_the_event_on_the_worker_that_runs_already(shop, environment):
    subprocess.run([sys.executable, "-c", PUBLISHER], cwd=shop, env=environment, check=True)
    output = shop / "output"
    with output.open("w") as file:
        worker = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "shop.main", "worker", "-l", "info", "-c", "1",
             "--without-mingle", "--without-gossip"],
            cwd=shop, env=environment, stdout=file, stderr=file, start_new_session=True,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 30
        while not all(line in output.read_text() for line in PRINTED):
            assert time.monotonic() < deadline, output.read_text()
            time.sleep(0.05)
        worker.terminate()
        assert worker.wait(30) == 0
    finally:
        if worker.poll() is None:
            os.killpg(worker.pid, signal.SIGKILL)
