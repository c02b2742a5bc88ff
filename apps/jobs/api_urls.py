from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from apps.jobs import api

_JOB = "projects/<slug:slug>/jobs/<int:job_id>/"
urlpatterns: list[URLPattern | URLResolver] = [
    path("projects/<slug:slug>/jobs/", api.Jobs.as_view(), name="api-jobs"),
    path(_JOB, api.JobDetail.as_view(), name="api-job"),
    path(f"{_JOB}cancel/", api.JobCancel.as_view(), name="api-job-cancel"),
    path(f"{_JOB}retry/", api.JobRetry.as_view(), name="api-job-retry"),
]
