from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from apps.rankings import api, crew_api, edit_api, flag_api, lead_api, practice_api, ranking_api, review_api

urlpatterns: list[URLPattern | URLResolver] = [
    path("projects/<slug:slug>/next/", api.NextComparison.as_view(), name="api-next"),
    path("projects/<slug:slug>/adjudications/", lead_api.SplitPairs.as_view(), name="api-split"),
    path(
        "projects/<slug:slug>/adjudications/<int:comparison_id>/", lead_api.Adjudicate.as_view(), name="api-adjudicate"
    ),
    path(
        "projects/<slug:slug>/comparisons/<int:comparison_id>/history/", lead_api.History.as_view(), name="api-history"
    ),
    path(
        "projects/<slug:slug>/comparisons/<int:comparison_id>/gold/", crew_api.GoldMark.as_view(), name="api-gold-mark"
    ),
    path("projects/<slug:slug>/edits/", edit_api.Edits.as_view(), name="api-edits"),
    path(
        "projects/<slug:slug>/comparisons/<int:comparison_id>/edits/<slug:side>/",
        edit_api.EditCreate.as_view(),
        name="api-edit",
    ),
    path("projects/<slug:slug>/gold/", crew_api.Gold.as_view(), name="api-gold"),
    path("projects/<slug:slug>/practice/", practice_api.Practice.as_view(), name="api-practice"),
    path("projects/<slug:slug>/practices/", crew_api.Practices.as_view(), name="api-practices"),
    path(
        "projects/<slug:slug>/practices/<str:username>/",
        crew_api.PracticeDecision.as_view(),
        name="api-practice-decision",
    ),
    path("projects/<slug:slug>/batches/", crew_api.Batches.as_view(), name="api-batches"),
    path("projects/<slug:slug>/batches/<int:pk>/close/", crew_api.BatchClose.as_view(), name="api-batch-close"),
    path("projects/<slug:slug>/budget/", crew_api.LabelBudget.as_view(), name="api-budget"),
    path("projects/<slug:slug>/pause/", crew_api.Pause.as_view(), name="api-pause"),
    path("projects/<slug:slug>/reviews/", review_api.Reviews.as_view(), name="api-reviews"),
    path("projects/<slug:slug>/agreements/", lead_api.AgreeMany.as_view(), name="api-agree"),
    path("projects/<slug:slug>/flags/", flag_api.Flags.as_view(), name="api-flags"),
    path("projects/<slug:slug>/flags/<int:pk>/", flag_api.Resolve.as_view(), name="api-flag"),
    path("flags/of/<int:assignment>/", flag_api.FlagWithdraw.as_view(), name="api-flag-withdraw"),
    path("flags/", flag_api.FlagCreate.as_view(), name="api-flag-create"),
    path("rankings/", ranking_api.RankingCreate.as_view(), name="api-ranking"),
    path(
        "projects/<slug:slug>/comparisons/<int:comparison_id>/decision/",
        review_api.Decision.as_view(),
        name="api-decision",
    ),
    path("votes/of/<int:assignment>/", api.VoteUndo.as_view(), name="api-vote-undo"),
    path("votes/", api.VoteCreate.as_view(), name="api-vote"),
]
