from __future__ import annotations

from django.apps import AppConfig


class RemovalConfig(AppConfig):
    name = "apps.removal"
    label = "removal"

    def ready(self) -> None:
        from apps.jobs.ticks import TICKS
        from apps.removal.retention import retention_start

        TICKS.register(retention_start)
