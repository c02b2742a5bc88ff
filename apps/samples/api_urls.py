from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from apps.samples import api

urlpatterns: list[URLPattern | URLResolver] = [
    path("projects/<slug:slug>/samples/comparisons/", api.AllComparisons.as_view(), name="api-all-comparisons"),
    path("projects/<slug:slug>/samples/runs/", api.Runs.as_view(), name="api-sampling-runs"),
    path("projects/<slug:slug>/samples/runs/<int:pk>/", api.Run.as_view(), name="api-sampling-run"),
    path(
        "projects/<slug:slug>/samples/runs/<int:pk>/comparisons/",
        api.RunComparisons.as_view(),
        name="api-run-comparisons",
    ),
]
