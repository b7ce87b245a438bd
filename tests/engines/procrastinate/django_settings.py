"""The settings of a Django project with Procrastinate's app."""

from __future__ import annotations

import os

from psycopg.conninfo import conninfo_to_dict

_given = conninfo_to_dict(os.environ["BROKER"])
SETTINGS = {
    "INSTALLED_APPS": ["procrastinate.contrib.django"],
    "DATABASES": {
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": _given["host"],
            "PORT": _given["port"],
            "USER": _given["user"],
            "NAME": _given["dbname"],
        }
    },
    "USE_TZ": True,
}
