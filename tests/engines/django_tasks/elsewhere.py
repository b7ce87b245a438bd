"""The store under one more name, so that nobody can tell by which one to import it."""

from tests.engines.django_tasks import special_app

store = special_app.store
