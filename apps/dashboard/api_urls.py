from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from apps.dashboard import api

urlpatterns: list[URLPattern | URLResolver] = [
    path("demos/<slug:world>/", api.DemoCreate.as_view(), name="api-demo"),
]
