from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from apps.ratings import api

urlpatterns: list[URLPattern | URLResolver] = [
    path("projects/<slug:slug>/ratings/next/", api.NextAnswer.as_view(), name="api-next-answer"),
    path("ratings/of/<int:seat>/", api.RatingUndo.as_view(), name="api-rating-undo"),
    path("ratings/", api.RatingCreate.as_view(), name="api-rating"),
]
