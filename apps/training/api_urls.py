from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from apps.training.loops import api

urlpatterns: list[URLPattern | URLResolver] = [
    path("projects/<slug:slug>/loops/", api.LoopCreate.as_view(), name="api-loops"),
    path("loops/<int:pk>/", api.LoopDetail.as_view(), name="api-loop"),
]
