from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from apps.removal import api

urlpatterns: list[URLPattern | URLResolver] = [
    path("projects/<slug:slug>/deletions/", api.Deletions.as_view(), name="api-deletions"),
    path("projects/<slug:slug>/retention/", api.Retention.as_view(), name="api-retention"),
]
