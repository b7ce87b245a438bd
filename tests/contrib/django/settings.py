"""Settings of the Django project of the tests: SQLite, or PostgreSQL by SHOP_DATABASE_URL."""

import os
from urllib.parse import urlsplit

FOLDER = os.environ.get("SHOP_FOLDER", "/nonexistent")


def sqlite(name):
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": f"{FOLDER}/{name}.sqlite3",
        "OPTIONS": {"transaction_mode": "IMMEDIATE"},
        "TEST": {"NAME": None if os.environ.get("SHOP_IN_MEMORY") else f"{FOLDER}/test_{name}.sqlite3"},
    }


def postgres(url):
    parts = urlsplit(url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.strip("/"),
        "USER": parts.username,
        "HOST": parts.hostname,
        "PORT": parts.port,
    }


URL = os.environ.get("SHOP_DATABASE_URL")
DATABASES = {"default": postgres(URL) if URL else sqlite("shop"), "other": sqlite("other")}
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "tests.contrib.django.shop",
    "whereupon.contrib.django",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
ROOT_URLCONF = "tests.contrib.django.shop.urls"
SECRET_KEY = "for tests"
ALLOWED_HOSTS = ["*"]
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STATIC_URL = "/static/"
STRICT = os.environ.get("SHOP_STRICT", "1") == "1"
WHEREUPON = {"STORE": os.environ.get("SHOP_STORE", "tests.contrib.django.shop.event_store.store")}
