from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from apps.removal import views

app_name = "removal"
urlpatterns: list[URLPattern | URLResolver] = [
    path("p/<slug:slug>/settings/deletion/", views.deletion, name="deletion"),
    path("p/<slug:slug>/settings/retention/", views.retention, name="retention"),
]
