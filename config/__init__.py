"""The assembly of processes. Importing it names the Celery app, so that services can ring a bell by name."""

from __future__ import annotations

from config.celery import app as celery_app

__all__ = ["celery_app"]
