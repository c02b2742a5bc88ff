from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from apps.rankings import api, flag_api, lead_api

urlpatterns: list[URLPattern | URLResolver] = [
    path("projects/<slug:slug>/next/", api.NextComparison.as_view(), name="api-next"),
    path("projects/<slug:slug>/adjudications/", lead_api.SplitPairs.as_view(), name="api-split"),
    path(
        "projects/<slug:slug>/adjudications/<int:comparison_id>/", lead_api.Adjudicate.as_view(), name="api-adjudicate"
    ),
    path(
        "projects/<slug:slug>/comparisons/<int:comparison_id>/history/", lead_api.History.as_view(), name="api-history"
    ),
    path("projects/<slug:slug>/agreements/", lead_api.AgreeMany.as_view(), name="api-agree"),
    path("projects/<slug:slug>/flags/", flag_api.Flags.as_view(), name="api-flags"),
    path("projects/<slug:slug>/flags/<int:pk>/", flag_api.Resolve.as_view(), name="api-flag"),
    path("flags/", flag_api.FlagCreate.as_view(), name="api-flag-create"),
    path("votes/", api.VoteCreate.as_view(), name="api-vote"),
]
