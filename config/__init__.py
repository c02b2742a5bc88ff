"""The configuration of all processes. Importing it makes the Celery app known, so that services can notify workers
by name.
"""

from __future__ import annotations

from config.celery import app as celery_app

__all__ = ["celery_app"]
