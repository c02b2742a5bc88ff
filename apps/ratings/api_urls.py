from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from apps.ratings import api, flag_api, gold_api

urlpatterns: list[URLPattern | URLResolver] = [
    path("projects/<slug:slug>/ratings/next/", api.NextAnswer.as_view(), name="api-next-answer"),
    path("projects/<slug:slug>/ratings/practice/", gold_api.RatingPractice.as_view(), name="api-rating-practice"),
    path("projects/<slug:slug>/answers/<int:answer_id>/gold/", gold_api.AnswerGold.as_view(), name="api-answer-gold"),
    path("ratings/of/<int:seat>/", api.RatingUndo.as_view(), name="api-rating-undo"),
    path("ratings/flags/of/<int:seat>/", flag_api.FlagWithdraw.as_view(), name="api-answer-flag-withdraw"),
    path("ratings/flags/", flag_api.AnswerFlagCreate.as_view(), name="api-answer-flag-create"),
    path("ratings/", api.RatingCreate.as_view(), name="api-rating"),
]
