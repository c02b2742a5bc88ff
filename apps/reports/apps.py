from __future__ import annotations

from django.apps import AppConfig


class ReportsConfig(AppConfig):
    name = "apps.reports"
    label = "reports"

    def ready(self) -> None:
        from apps.jobs.services.holding import JOB_FAILED
        from apps.reports.laboratory.running import job_failed, loop_heard
        from apps.training.rounds.advance import LOOP_ENDED

        LOOP_ENDED.register(loop_heard)
        JOB_FAILED.register(job_failed)
