"""A Django project for the rows that need one: set up once, and led to one database after another."""

from __future__ import annotations

import importlib.util
from typing import Any

from bench.peers import import_peer

TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
_APPS = ("django_outbox_pattern", "django_tasks_db")


def set_up(url: str) -> None:
    """Lead Django to a database, and make the tables of its applications. Raises `PeerMissing`."""
    place = place_of(url)
    if import_peer("django.apps").apps.ready:
        django_db().connection.close()
        django_db().connection.settings_dict.update(place)
    else:
        settings = import_peer("django.conf").settings
        if not settings.configured:
            settings.configure()
        settings.DATABASES, settings.TASKS = {"default": place}, TASKS
        settings.INSTALLED_APPS = [each for each in _APPS if importlib.util.find_spec(each)]
        import_peer("django").setup()
    import_peer("django.core.management").call_command("migrate", verbosity=0)


def place_of(url: str) -> dict[str, Any]:
    """Return how Django's settings name a database on PostgreSQL; connections are kept between jobs."""
    given = import_peer("psycopg.conninfo").conninfo_to_dict(url)
    place = {"HOST": given["host"], "PORT": given["port"], "NAME": given["dbname"], "USER": given["user"]}
    return {"ENGINE": "django.db.backends.postgresql", "CONN_MAX_AGE": 60} | place


def django_db() -> Any:
    """Return `django.db`."""
    return import_peer("django.db")
