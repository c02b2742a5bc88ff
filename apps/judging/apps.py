from __future__ import annotations

from django.apps import AppConfig


class JudgingConfig(AppConfig):
    name = "apps.judging"
    label = "judging"

    def ready(self) -> None:
        from apps.jobs.ticks import TICKS
        from apps.judging.watch import watches_start

        TICKS.register(watches_start)
