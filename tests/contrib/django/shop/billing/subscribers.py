import os
import signal
import time
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db import transaction

from tests.contrib.django.shop.models import Invoice
from tests.contrib.django.shop.orders.events import OrderBilled, OrderPlaced
from whereupon import publish, subscriber


def note(word, number):
    with (Path(settings.FOLDER) / "log").open("a") as file:
        file.write(f"{word} {number}\n")


def once(name):
    """Tell true the first time only, over all processes."""
    try:
        (Path(settings.FOLDER) / name).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


@subscriber(atomic=True, max_attempts=3, backoff=timedelta(0))
def create_invoice(event: OrderPlaced) -> None:
    """Each number is a way to die, to fail or to be slow."""
    note("start", event.number)
    Invoice.objects.create(order=event.number)
    publish(OrderBilled(number=event.number))
    if event.number == 13 and once("killed-before"):
        os.kill(os.getpid(), signal.SIGKILL)
    if event.number == 14 and once("killed-after"):
        transaction.on_commit(lambda: os.kill(os.getpid(), signal.SIGKILL))
    if event.number == 15 and once("raised"):
        raise ValueError("first time")
    if event.number == 16:
        transaction.on_commit(lambda: 1 / 0)
    if event.number == 17 and once("slow"):
        time.sleep(8)


def send_receipt(event: OrderBilled) -> None:
    note("receipt", event.number)


async def thank(event: OrderBilled) -> None:
    found = await Invoice.objects.filter(order=event.number).acount()
    note("thanks", f"{event.number}:{found}")
