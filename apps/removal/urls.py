from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from apps.removal import account_views, views

app_name = "removal"
urlpatterns: list[URLPattern | URLResolver] = [
    path("account/delete/", account_views.own, name="own-account"),
    path("people/<int:pk>/delete/", account_views.anybodys, name="account"),
    path("p/<slug:slug>/settings/deletion/", views.deletion, name="deletion"),
    path("p/<slug:slug>/settings/retention/", views.retention, name="retention"),
]
