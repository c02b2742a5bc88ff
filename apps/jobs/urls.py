from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from apps.jobs import views

app_name = "jobs"
urlpatterns: list[URLPattern | URLResolver] = [
    path("jobs/", views.jobs_all, name="all"),
    path("p/<slug:slug>/jobs/", views.jobs, name="list"),
    path("p/<slug:slug>/jobs/<int:job_id>/", views.job, name="job"),
    path("p/<slug:slug>/jobs/<int:job_id>/cancel/", views.cancel, name="cancel"),
    path("p/<slug:slug>/jobs/<int:job_id>/retry/", views.retry, name="retry"),
]
