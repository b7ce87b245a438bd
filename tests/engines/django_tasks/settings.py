"""A project whose tasks are in a database of its own, with the kit's store."""

import os
from urllib.parse import urlsplit

url = urlsplit(os.environ["TASKS_DATABASE"])
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": url.path.strip("/"),
        "USER": url.username,
        "HOST": url.hostname,
        "PORT": url.port,
    }
}
INSTALLED_APPS = ["django_tasks", "django_tasks_db", "whereupon.contrib.django"]
TASKS = {
    "default": {
        "BACKEND": os.environ.get("TASKS_BACKEND", "django_tasks_db.DatabaseBackend"),
        "QUEUES": ["default", "other"],
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
SECRET_KEY = "only for tests"
USE_TZ = True
WHEREUPON = {"STORE": "tests.engines.django_tasks.contract_app.store"}
