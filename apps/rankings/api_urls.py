from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from apps.rankings import api

urlpatterns: list[URLPattern | URLResolver] = [
    path("projects/<slug:slug>/next/", api.NextComparison.as_view(), name="api-next"),
    path("votes/", api.VoteCreate.as_view(), name="api-vote"),
]
