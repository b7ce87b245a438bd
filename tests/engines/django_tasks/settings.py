"""Settings of the Django project of these tests: PostgreSQL by TASKS_DATABASE, or SQLite."""

from __future__ import annotations

import os

from tests.contrib.django.settings import postgres, sqlite
from whereupon.testing import engine_contract

URL = os.environ.get("TASKS_DATABASE")
DATABASES = {"default": postgres(URL) if URL else sqlite("project")}
if not URL:
    DATABASES["default"]["NAME"] = f"{os.environ[engine_contract.FOLDER]}/project.sqlite3"
DATABASES["default"]["CONN_MAX_AGE"] = int(os.environ["CONN_MAX_AGE"])
INSTALLED_APPS = [
    "django_tasks_db",
    "tests.engines.django_tasks",
    "whereupon.contrib.django",
]
TASKS = {
    "default": {
        "BACKEND": "django_tasks_db.DatabaseBackend",
        "QUEUES": ["default", "other"],
    }
}
DEBUG = "DEBUG" in os.environ
SECRET_KEY = "for tests"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
WHEREUPON = {"STORE": os.environ["STORE"]}
