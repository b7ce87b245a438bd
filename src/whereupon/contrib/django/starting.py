"""Setting up Django before a store is imported, in the processes that `manage.py` has not started."""

from __future__ import annotations

import django
from django.apps import apps


def start() -> None:
    """Set up Django with the settings that DJANGO_SETTINGS_MODULE names, unless that has been done."""
    if not apps.ready and not apps.app_configs:
        django.setup()
