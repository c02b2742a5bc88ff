from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from apps.prompts import views

app_name = "prompts"
urlpatterns: list[URLPattern | URLResolver] = [
    path("p/<slug:slug>/prompts/", views.prompts, name="list"),
    path("p/<slug:slug>/prompts/add/", views.add, name="add"),
]
