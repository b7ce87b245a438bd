"""Subscribers that use Django's database, and a task of the team's own beside them."""

from __future__ import annotations

from django.db import connection

from whereupon import Event, EventStore, publish, subscribe, subscriber
from whereupon.contrib.django import DjangoLedger
from whereupon.engines.django_tasks import DjangoTasksEngine
from whereupon.testing.engine_contract.app import log

try:
    from django.tasks import task
except ImportError:
    from django_tasks import task


class Placed(Event, name="special.placed"):
    number: int


class Billed(Event, name="special.billed"):
    number: int


@subscriber(name="query", priority="high")
def query(event: Placed) -> None:
    """Use the connection of the worker's thread."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    log("done", "query", event.number)


@subscriber(name="aquery", queue="other")
async def aquery(event: Placed) -> None:
    """Use the connection of the thread in which Django runs what coroutines ask of it."""
    from whereupon.contrib.django.models import Delivery

    await Delivery.objects.acount()
    log("done", "aquery", event.number)


@subscriber(name="bill", atomic=True)
def bill(event: Placed) -> None:
    """Write a row in the transaction that closes the delivery, and fail once for odd numbers."""
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO effect VALUES (%s)", [event.number])
        cursor.execute("SELECT count(*) FROM effect")
    publish(Billed(number=event.number))
    log("start", "bill", event.number)


@subscriber(name="hear")
def hear(event: Billed) -> None:
    """Hear of what an atomic subscriber has published."""
    log("done", "hear", event.number)


@task()
def greet(number: int) -> str:
    """Be a task of the team's own."""
    log("done", "greet", number)
    return "hello"


store = EventStore(
    subscriptions=[
        subscribe(query, to=Placed),
        subscribe(aquery, to=Placed),
        subscribe(bill, to=Placed),
        subscribe(hear, to=Billed),
    ],
    ledger=DjangoLedger(),
    engine=DjangoTasksEngine(),
)
