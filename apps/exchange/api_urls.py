from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from apps.exchange import api

urlpatterns: list[URLPattern | URLResolver] = [
    path("projects/<slug:slug>/records/", api.Records.as_view(), name="records"),
]
