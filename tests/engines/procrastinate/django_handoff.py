"""What Django's own connection does with events of a store without a ledger: prints the count of jobs."""

from __future__ import annotations

import asyncio
import os

import django
from asgiref.sync import async_to_sync
from django.core.management import call_command

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.engines.procrastinate.django_settings"
django.setup()

from django.db import connection, transaction  # noqa: E402 - Django must be set up before
from procrastinate.contrib.django import app  # noqa: E402
from procrastinate.contrib.django.models import ProcrastinateJob  # noqa: E402

from whereupon import EventStore, apublish, publish, subscribe  # noqa: E402
from whereupon.engines.procrastinate import ProcrastinateEngine  # noqa: E402
from whereupon.errors import NoTransaction, WrongConnection  # noqa: E402
from whereupon.store import swap  # noqa: E402
from whereupon.testing.engine_contract.app import Happened, act  # noqa: E402


def count() -> int:
    return ProcrastinateJob.objects.count()


call_command("migrate", verbosity=0)
engine = ProcrastinateEngine(app)
store = EventStore(subscriptions=[subscribe(act, to=Happened)], engine=engine)
store.install()
with transaction.atomic():
    publish(Happened(number=1))
    publish(Happened(number=2), on="default")
    publish(Happened(number=3), on=connection)
print("committed", count())
try:
    with transaction.atomic():
        publish(Happened(number=4))
        raise KeyError
except KeyError:
    print("rolled back", count())
publish(Happened(number=5))
asyncio.run(apublish(Happened(number=6)))
print("alone", count())
try:
    publish(Happened(number=7), on="other")
except WrongConnection as error:
    print("refused", "not of builtins.str" in str(error))
strict = EventStore(subscriptions=[subscribe(act, to=Happened)], engine=ProcrastinateEngine(app), strict=True)
app.tasks.pop("engine_contract.act")
strict.engine.register(strict)
swap(strict)
refused = []
case = transaction.atomic()
case._from_testcase = True
for attempt in (lambda: publish(Happened(number=8)), lambda: asyncio.run(apublish(Happened(number=9)))):
    try:
        attempt()
    except NoTransaction as error:
        refused.append(error)
try:
    with case:
        publish(Happened(number=10))
except NoTransaction as error:
    refused.append(error)
if len(refused) == 3:
    print("strict", count())
with transaction.atomic():
    async_to_sync(apublish)(Happened(number=11))
print("joined", count())
