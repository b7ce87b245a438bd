"""The Celery application, as Celery's own documentation has it for Django."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "django_shop.settings")
app = Celery("django_shop")
app.config_from_object("django.conf:settings", namespace="CELERY")
