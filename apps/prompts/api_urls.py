from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from apps.prompts import api

urlpatterns: list[URLPattern | URLResolver] = [
    path("projects/<slug:slug>/prompts/", api.Prompts.as_view(), name="api-prompts"),
]
