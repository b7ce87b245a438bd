"""Real worker processes on both databases: killed before and after the commit, late, failing."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from tests.contrib.django.test_cases import ROOT, environment, url

__all__ = ["url"]
STORE = "tests.contrib.django.shop.event_store:store"


class Shop:
    def __init__(self, folder, url, **more):
        self.folder = folder
        self.environment = environment(folder, url, **more)
        self.workers = []
        (folder / "log").touch()

    def run(self, *arguments, check=True):
        return subprocess.run(
            [sys.executable, *arguments],
            env=self.environment, cwd=ROOT, capture_output=True, text=True, check=check,
        )  # fmt: skip

    def manage(self, *arguments, **options):
        return self.run("-m", "django", *arguments, **options)

    def code(self, text):
        setup = "import django; django.setup()\nfrom tests.contrib.django.shop.orders.services import *\n"
        return self.run("-c", setup + text)

    def start(self, *command):
        output = (self.folder / "worker.log").open("ab")
        worker = subprocess.Popen(
            [sys.executable, "-m", *command], env=self.environment, cwd=ROOT, stdout=output, stderr=output
        )
        output.close()
        self.workers.append(worker)
        return worker

    def log(self):
        return Counter((self.folder / "log").read_text().splitlines())

    def output(self):
        return (self.folder / "worker.log").read_text()

    def states(self):
        """Return how many deliveries of each state there are, and the invoices, by order."""
        text = (
            "from collections import Counter\n"
            "from whereupon.contrib.django.models import Delivery\n"
            "from tests.contrib.django.shop.models import Invoice\n"
            "print(dict(Counter(Delivery.objects.values_list('state', flat=True))))\n"
            "print(sorted(Invoice.objects.values_list('order', flat=True)))"
        )
        states, invoices = self.code(text).stdout.splitlines()
        return eval(states), eval(invoices)

    def wait(self, count, seconds=60):
        deadline = time.monotonic() + seconds
        while (found := self.states())[0] != {"done": count}:
            assert time.monotonic() < deadline, f"{found}\n{self.output()}"
            time.sleep(0.3)
        return found[1]


@pytest.fixture
def shop(tmp_path, url):
    made = Shop(tmp_path, url)
    made.manage("migrate", "-v0")
    yield made
    for worker in made.workers:
        worker.terminate()
        worker.wait(30)


@pytest.mark.slow
def test_an_invoice_is_made_once_whatever_dies(shop):
    """13 is killed before the commit, 14 after it, 15 raises, 16 fails in a function for after the commit."""
    shop.code("for number in (1, 13, 14, 15, 16): place(number)")
    shop.start("django", "whereupon", "worker", "--threads", "1")  # so that no two are in one death
    assert shop.wait(15) == [1, 13, 14, 15, 16]
    assert shop.output().count("was killed by SIGKILL") == 2
    assert "its transaction is committed" in shop.output() or "transaction is committed" in shop.output()
    log = shop.log()
    assert log["start 13"] >= 2
    assert log["start 15"] >= 2
    assert log["start 16"] == 1
    for number in (1, 13, 14, 15, 16):
        assert log[f"receipt {number}"] >= 1
        assert log[f"thanks {number}:1"] >= 1


@pytest.mark.slow
def test_the_command_whereupon_sets_up_django_by_itself(shop):
    shop.code("place(1)")
    shop.start("whereupon", "worker", "--store", STORE)
    assert shop.wait(3) == [1]
    assert "billing.create_invoice" in shop.run("-m", "whereupon", "status", "--store", STORE).stdout
    doctor = shop.manage("whereupon", "doctor", check=False)
    assert "workers that hold a lease: 1" in doctor.stdout, doctor.stderr


@pytest.mark.slow
def test_a_worker_that_is_killed_whole_leaves_nothing_behind(shop):
    shop.code("for number in range(100, 130): place(number)")
    worker = shop.start("whereupon", "worker", "--store", STORE)
    deadline = time.monotonic() + 30
    while not shop.log():
        assert time.monotonic() < deadline, shop.output()
        time.sleep(0.01)
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    shop.start("whereupon", "worker", "--store", STORE)
    assert shop.wait(90) == [*range(100, 130)]


@pytest.mark.slow
def test_a_late_handler_gives_the_lock_of_sqlite_back(tmp_path):
    shop = Shop(tmp_path, "")
    shop.manage("migrate", "-v0")
    shop.code("place(17)")
    worker = shop.start("whereupon", "worker", "--store", STORE)
    try:
        deadline = time.monotonic() + 30
        while "is overrunning" not in shop.output():
            assert time.monotonic() < deadline, shop.output()
            time.sleep(0.05)
        shop.code("place(1)")  # while the handler still sleeps
        assert shop.wait(6) == [1, 17]
    finally:
        worker.terminate()
        worker.wait(30)


def test_migrations_make_and_drop_the_tables_on_the_ledgers_alias(tmp_path, url):
    shop = Shop(tmp_path, url)
    tables = (
        "from django.db import connections\n"
        "for alias in ('default', 'other'):\n"
        "    names = connections[alias].introspection.table_names()\n"
        "    print(sum(name.startswith('whereupon') for name in names))"
    )
    assert "went from version 0 to 1" in shop.manage("whereupon", "ledger", "migrate").stdout
    shop.code("from whereupon.contrib.django import DjangoLedger\nassert DjangoLedger().version() == 1")
    shop.manage("migrate", "-v0")  # finds the tables and goes on
    shop.manage("migrate", "-v0", "--database", "other")
    assert shop.code(tables).stdout.split() == ["4", "0"]
    assert "has version 1" in shop.manage("whereupon", "ledger", "migrate").stdout
    shop.manage("migrate", "whereupon", "zero")
    assert shop.code(tables).stdout.split() == ["0", "0"]
    missing = shop.run("-m", "whereupon", "worker", "--store", STORE, check=False)
    assert missing.returncode == 1
    assert "python manage.py migrate whereupon" in missing.stderr


def test_a_ledger_that_is_newer_or_half_made_stops_the_migration(tmp_path, url):
    shop = Shop(tmp_path, url)
    shop.manage("whereupon", "ledger", "migrate")
    change = "from django.db import connection\nconnection.cursor().execute({!r})"
    shop.code(change.format("UPDATE whereupon_ledger SET version = 99"))
    newer = shop.manage("migrate", "-v0", check=False)
    assert "has version 99, this code knows 1 at most" in newer.stderr
    shop.code(change.format("DROP TABLE whereupon_ledger"))
    half = shop.manage("migrate", "-v0", check=False)
    assert "but no version of a ledger" in half.stderr


def test_a_broken_store_stops_publishing_and_workers_and_nothing_else(tmp_path):
    shop = Shop(tmp_path, "", SHOP_STORE="tests.contrib.django.shop.broken.store")
    shop.manage("migrate", "-v0", "--skip-checks")
    found = shop.manage("check", check=False)
    assert "whereupon.E001" in found.stderr
    assert "whereupon.E002" in found.stderr
    assert "NoStore" in shop.code("try: place(1)\nexcept Exception as e: print(type(e).__name__)").stdout
    worker = shop.manage("whereupon", "worker", check=False)
    assert worker.returncode == 1
    assert "the store cannot be built: 2 faults" in worker.stderr
