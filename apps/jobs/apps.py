from __future__ import annotations

from typing import Any

from django.apps import AppConfig


class JobsConfig(AppConfig):
    name = "apps.jobs"
    label = "jobs"

    def ready(self) -> None:
        from django.db.models import Count

        from apps.core.shell import register_count
        from apps.jobs import access, selectors
        from apps.jobs.fairness import running_work
        from apps.quotas.counting import Rows, counted

        def running(user: Any, project: Any) -> int:
            jobs = access.jobs_for(user) if project is None else selectors.running_jobs(project)
            return jobs.filter(state__in=selectors.OPEN).count()

        register_count("jobs", running)
        counted("jobs", Rows(selectors.open_work, Count("pk"), "started_by"))
        counted("running", Rows(running_work, Count("pk")))
