"""A Django project with Procrastinate's app, and its `manage.py`."""

from __future__ import annotations

import os
import sys

import django
from django.apps import apps
from django.conf import settings
from django.core.management import execute_from_command_line

from tests.engines.procrastinate.django_settings import SETTINGS
from whereupon import relay
from whereupon.engines.procrastinate import ProcrastinateEngine
from whereupon.testing import engine_contract

if not settings.configured:
    settings.configure(**SETTINGS)
if not apps.ready:
    django.setup()

from procrastinate.contrib.django import app

relay.RESEND = float(os.environ.get("RESEND", relay.RESEND))
store = engine_contract.make_store(
    ProcrastinateEngine(app, store_name="tests.engines.procrastinate.django_app:store")
)
store.install()

if __name__ == "__main__":
    execute_from_command_line(["manage", *sys.argv[1:]])
