from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from apps.core import views

app_name = "core"
urlpatterns: list[URLPattern | URLResolver] = [
    path("healthz", views.healthz, name="healthz"),
    path("readyz", views.readyz, name="readyz"),
    path("api/docs/", views.api_docs, name="api-docs"),
    path("favicon.ico", views.favicon, name="favicon"),
]
