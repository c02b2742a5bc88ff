from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from apps.exchange import views

app_name = "exchange"
urlpatterns: list[URLPattern | URLResolver] = [
    path("p/<slug:slug>/data/", views.data, name="data"),
    path("p/<slug:slug>/data/export/", views.export, name="export"),
    path("p/<slug:slug>/data/hub/", views.fetch, name="fetch"),
    path("p/<slug:slug>/data/uploads/", views.upload, name="upload"),
    path("p/<slug:slug>/data/uploads/<str:token>/", views.preview, name="preview"),
    path("p/<slug:slug>/data/uploads/<str:token>/map/", views.map_columns, name="map"),
    path("p/<slug:slug>/data/uploads/<str:token>/import/", views.start, name="import"),
    path("p/<slug:slug>/data/uploads/<str:token>/drop/", views.drop, name="drop"),
]
