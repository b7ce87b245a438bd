"""The app `whereupon.contrib.django`: it installs the store when Django starts."""

from __future__ import annotations

import logging
from typing import Any

from django.apps import AppConfig, apps
from django.core import checks as django_checks
from django.db.models.signals import post_migrate

from whereupon.contrib.django import checks, development
from whereupon.contrib.django.configuration import Loaded, load
from whereupon.contrib.django.tables import make_without_migrations
from whereupon.errors import StoreConflict

LABEL = "whereupon"
"""The label of the app, as in `manage.py migrate whereupon`."""

_log = logging.getLogger("whereupon.django")


class WhereuponConfig(AppConfig):
    """Loads the store that WHEREUPON names; what is wrong with it becomes system checks.

    Nothing is raised, so that `migrate` and `shell` work with a broken store. Then none is installed:
    publishing raises `NoStore`, and workers do not start.
    """

    name = "whereupon.contrib.django"
    label = LABEL
    verbose_name = "whereupon"
    default_auto_field = "django.db.models.BigAutoField"
    loaded = Loaded()

    def ready(self) -> None:
        """Load the store and install it."""
        self.loaded = loaded = load()
        if loaded.store is not None:
            try:
                loaded.store.install()
            except StoreConflict as error:
                self.loaded = loaded = Loaded(loaded.configuration, faults=(error,))
        for fault in loaded.faults:
            _log.error("no store is installed: %s", fault)
        self._name_tables(loaded)
        django_checks.register(checks.check, LABEL)
        post_migrate.connect(make_without_migrations, sender=self)
        if loaded.store is not None and loaded.configuration.dev_worker:
            development.start_under_runserver(loaded.configuration.store)

    def _name_tables(self, loaded: Loaded) -> None:
        """Tell the models of the admin in which schema of PostgreSQL their tables are."""
        if loaded.ledger is not None and loaded.ledger.schema:
            schema = loaded.ledger.schema.replace('"', '""')
            for model in self.get_models():
                options: Any = model._meta  # noqa: SLF001 - Django's documented name
                options.db_table = f'"{schema}"."{options.db_table}"'


def loaded_store() -> Loaded:
    """Return what the app has loaded."""
    found: Any = apps.get_app_config(LABEL)
    return found.loaded
