"""The Celery app. Its messages only notify workers: ids and queue names, never work (DESIGN 5)."""

from __future__ import annotations

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("prefloop")
app.config_from_object("config.celery_settings")  # by name: read at first use, when Django's settings exist
