"""django-outbox-pattern: a model saved together with one outbox row for each destination.

Its decorator `publish` is used as its README shows it, on Django's PostgreSQL backend in its defaults: no
statement is prepared on the server.
"""

from __future__ import annotations

import functools
from typing import Any

from bench.peers import import_peer
from bench.peers.django_project import django_db

_APP = "bench"


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
