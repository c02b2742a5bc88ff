from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from apps.reports import api, ratings_api, reasons_api, reward_model_api
from apps.reports.laboratory import api as laboratory_api

urlpatterns: list[URLPattern | URLResolver] = [
    path("projects/<slug:slug>/reports/agreement/", api.AgreementReport.as_view(), name="report-agreement"),
    path("projects/<slug:slug>/reports/people/", api.PeopleReport.as_view(), name="report-people"),
    path("projects/<slug:slug>/reports/reasons/", reasons_api.ReasonsReport.as_view(), name="report-reasons"),
    path("projects/<slug:slug>/reports/ratings/", ratings_api.RatingsReport.as_view(), name="report-ratings"),
    path(
        "projects/<slug:slug>/reports/reward-models/",
        reward_model_api.RewardModelsReport.as_view(),
        name="report-reward-models",
    ),
    path("projects/<slug:slug>/exclusions/", api.ExclusionCreate.as_view(), name="exclusions"),
    path("projects/<slug:slug>/exclusions/<int:pk>/", api.ExclusionLift.as_view(), name="exclusion"),
    path("projects/<slug:slug>/reports/leaderboard/", api.LeaderboardReport.as_view(), name="report-leaderboard"),
    path("projects/<slug:slug>/studies/", laboratory_api.StudyList.as_view(), name="studies"),
    path("projects/<slug:slug>/studies/<slug:name>/", laboratory_api.StudyDetail.as_view(), name="study"),
    path("projects/<slug:slug>/studies/<slug:name>/stop/", laboratory_api.StudyStop.as_view(), name="study-stop"),
]
