"""django-outbox-pattern: a model saved together with one outbox row for each destination.

Its decorator `publish` is used as its README shows it, on Django's PostgreSQL backend in its defaults: no
statement is prepared on the server.
"""

from __future__ import annotations

import functools
from typing import Any

from bench.peers import import_peer

_APP = "bench"


def set_up(folder: str, port: int, database: str, user: str) -> None:
    """Point Django to one database and make the peer's tables. Once for each process."""
    settings = import_peer("django.conf").settings
    if not settings.configured:
        settings.configure()
    place = {"HOST": folder, "PORT": port, "NAME": database, "USER": user}
    settings.DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", **place}}
    settings.INSTALLED_APPS = ["django_outbox_pattern"]
    import_peer("django_outbox_pattern")
    import_peer("django").setup()
    import_peer("django.core.management").call_command("migrate", verbosity=0)


def django_db() -> Any:
    """Return `django.db`."""
    return import_peer("django.db")


@functools.cache
def model(count: int) -> Any:
    """Return a model whose save publishes to so many destinations, none for zero; make its table."""
    models = django_db().models
    decorators = import_peer("django_outbox_pattern.decorators")
    fields = {
        "__module__": __name__,
        "Meta": type("Meta", (), {"app_label": _APP}),
        "pipeline_id": models.BigIntegerField(),
        "ref": models.CharField(max_length=255),
    }
    made = type(f"Pipeline{count}", (models.Model,), fields)
    configs = [decorators.Config(destination=f"/topic/silent_{number}") for number in range(count)]
    with django_db().connection.schema_editor() as editor:
        editor.create_model(made)
    return decorators.publish(configs)(made) if count else made


def new_row(count: int) -> Any:
    """Return a row that is not saved yet; its save publishes to so many destinations."""
    return model(count)(pipeline_id=4711, ref="main")
