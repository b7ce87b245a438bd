"""The settings of a Django project with the apps of Procrastinate and of whereupon."""

from __future__ import annotations

import os

from psycopg.conninfo import conninfo_to_dict

_given = conninfo_to_dict(os.environ["BROKER"])
INSTALLED_APPS = ["procrastinate.contrib.django", "whereupon.contrib.django"]
if "WRONG_ORDER" in os.environ:
    INSTALLED_APPS.reverse()
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": _given["host"],
        "PORT": _given["port"],
        "USER": _given["user"],
        "NAME": _given["dbname"],
    }
}
USE_TZ = True
WHEREUPON = {"STORE": os.environ.get("DJANGO_STORE", "")}
