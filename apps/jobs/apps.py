from __future__ import annotations

from typing import Any

from django.apps import AppConfig


class JobsConfig(AppConfig):
    name = "apps.jobs"
    label = "jobs"

    def ready(self) -> None:
        from apps.core.shell import register_count
        from apps.jobs import access, selectors

        def running(user: Any, project: Any) -> int:
            jobs = access.jobs_for(user) if project is None else selectors.running_jobs(project)
            return jobs.filter(state__in=selectors.OPEN).count()

        register_count("jobs", running)
