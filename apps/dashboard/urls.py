from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from apps.dashboard import labels, views

app_name = "dashboard"
urlpatterns: list[URLPattern | URLResolver] = [
    path("p/<slug:slug>/", views.overview, name="overview"),
    path("p/<slug:slug>/overview/judge/", views.belief_part, name="belief"),
    path("p/<slug:slug>/judges/<int:pk>/use-for-labels/", labels.use_for_labels, name="use-for-labels"),
]
