"""The Django shop: its own tests, and the real thing started with one command and used over HTTP."""

import http.cookiejar
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, build_opener

import pytest
from tests.broker_servers import Redis
from tests.servers import free_port, new_database

pytest.importorskip("django")
ROOT = Path(__file__).parents[2]
MANAGE = ROOT / "examples" / "django_shop" / "manage.py"


@pytest.fixture(params=["sqlite", "postgresql"])
def environment(request, tmp_path):
    """Return the environment of a shop with a database of its own."""
    own = {"SHOP_VAR": str(tmp_path / "var"), "PYTHONUNBUFFERED": "1"}
    if request.param == "postgresql":
        own["DATABASE_URL"] = new_database()
    return {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"} | own


def test_its_own_tests_pass(environment):
    cases = Path(__file__).parent / "django_shop_cases.py"
    own = {"DJANGO_SETTINGS_MODULE": "django_shop.settings", "PYTHONPATH": str(ROOT / "examples")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", cases],
        env=environment | own, cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


class Browser:
    """Keeps cookies, as the protection against forged requests wants."""

    def __init__(self, address):
        self.address = address
        self.cookies = http.cookiejar.CookieJar()
        self._opener = build_opener(HTTPCookieProcessor(self.cookies))

    def get(self, path):
        with self._opener.open(self.address + path, timeout=20) as answer:
            return answer.read().decode()

    def checkout(self, **form):
        token = next(each.value for each in self.cookies if each.name == "csrftoken")
        data = urlencode({"csrfmiddlewaretoken": token, "card": "4242", **form}).encode()
        with self._opener.open(f"{self.address}/checkout", data, timeout=20) as answer:
            return answer.url.removeprefix(self.address)


class Shop:
    """A running shop."""

    def __init__(self, environment, folder, *command):
        self.environment = environment
        self.log = folder / "shop.log"
        port = free_port()
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, MANAGE, *command, f"127.0.0.1:{port}"], env=environment, cwd=folder,
                stdout=log, stderr=log,
            )  # fmt: skip
        self.browser = Browser(f"http://127.0.0.1:{port}")

    def wait(self, ready, seconds=60):
        deadline = time.monotonic() + seconds
        while True:
            try:
                page = ready()
            except (URLError, ConnectionError):
                page = None
            if page:
                return page
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.2)

    def cells(self, path):
        """Return what the page of an order says of billing, shipping and loyalty."""
        return re.findall(r'<td id="\w+">(.*)', self.browser.get(path))

    def workers(self):
        """Return how many workers there are that hold a lease, as its own command says."""
        done = subprocess.run(
            [sys.executable, MANAGE, "whereupon", "status"],
            env=self.environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return int(re.search(r"workers: (\d+)", done.stdout)[1])

    def end(self):
        self.process.terminate()
        self.process.wait(30)


@pytest.mark.slow
def test_one_command_starts_it_and_a_checkout_has_its_effects(environment, tmp_path):
    shop = Shop(environment, tmp_path, "shop")
    try:
        assert "Teapot" in shop.wait(lambda: shop.browser.get("/"))
        order = shop.browser.checkout(sku="teapot", customer="ada")
        assert re.fullmatch(r"/orders/\d+", order)
        done = ["invoice over 24.90 €", "parcel packed", "24 points for ada"]
        shop.wait(lambda: shop.cells(order) == done)
        guest = shop.browser.checkout(sku="songs")
        free = ["invoice over 7.00 €", "nothing to send", "no points for guests"]
        shop.wait(lambda: shop.cells(guest) == free)
    finally:
        shop.end()
    shop.wait(lambda: shop.workers() == 0)  # the worker ends with the server


@pytest.mark.slow
def test_on_celery_each_subscriber_is_a_task_of_a_worker_that_is_started_as_always(environment, tmp_path):
    redis = Redis()
    environment = environment | {"CELERY_BROKER_URL": redis.url, "PYTHONPATH": str(MANAGE.parents[1])}
    shop = Shop(environment, tmp_path, "shop")
    log = (tmp_path / "worker.log").open("w")
    worker = subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "django_shop.celery", "worker", "-c", "2", "-l", "info",
         "-Q", "celery,billing"],
        env=environment, cwd=tmp_path, stdout=log, stderr=log,
    )  # fmt: skip
    log.close()
    try:
        shop.wait(lambda: shop.browser.get("/"))
        order = shop.browser.checkout(sku="teapot", customer="ada")
        shop.wait(lambda: shop.cells(order) == ["invoice over 24.90 €", "parcel packed", "24 points for ada"])
        told = (tmp_path / "worker.log").read_text()
        for task in ("billing.create_invoice", "shipping.pack_parcel", "loyalty.award_points"):
            assert f"Task {task}[" in told, told
    finally:
        worker.terminate()
        worker.wait(30)
        shop.end()
        redis.end()
    shop.wait(lambda: shop.workers() == 0)


@pytest.mark.slow
def test_in_production_what_is_published_outside_is_delivered_and_reported(environment, tmp_path):
    environment = environment | {"SHOP_DEBUG": "0"}
    code = (
        "from decimal import Decimal\n"
        "from django_shop.orders.events import OrderPlaced\n"
        "from whereupon import publish\n"
        "publish(OrderPlaced(order_id=1, total=Decimal(9), needs_shipping=True))"
    )
    subprocess.run([sys.executable, MANAGE, "migrate", "-v0"], env=environment, cwd=tmp_path, check=True)
    told = subprocess.run(
        [sys.executable, MANAGE, "shell", "-c", code],
        env=environment, cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "published outside a transaction at <string>:4" in told.stderr
    log = (tmp_path / "worker.log").open("w")
    worker = subprocess.Popen(
        [sys.executable, MANAGE, "whereupon", "worker"], env=environment, cwd=tmp_path, stdout=log, stderr=log
    )
    log.close()
    look = "from django_shop.billing.models import *; from django_shop.shipping.models import *; "
    look += "print(Invoice.objects.count(), Parcel.objects.count())"
    try:
        deadline = time.monotonic() + 60
        while True:
            found = subprocess.run(
                [sys.executable, MANAGE, "shell", "-v0", "-c", look],
                env=environment, cwd=tmp_path, capture_output=True, text=True, check=True,
            )  # fmt: skip
            if found.stdout.strip() == "1 1":
                break
            assert time.monotonic() < deadline, (tmp_path / "worker.log").read_text()
    finally:
        worker.terminate()
        worker.wait(30)
