from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from apps.dashboard import views

app_name = "dashboard"
urlpatterns: list[URLPattern | URLResolver] = [
    path("metrics", views.metrics, name="metrics"),
    path("demo/<slug:world>/", views.demo, name="demo"),
    path("p/<slug:slug>/", views.overview, name="overview"),
    path("p/<slug:slug>/find/", views.find, name="find"),
    path("p/<slug:slug>/overview/judge/", views.belief_part, name="belief"),
]
