from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from apps.reports import api

urlpatterns: list[URLPattern | URLResolver] = [
    path("projects/<slug:slug>/reports/agreement/", api.AgreementReport.as_view(), name="report-agreement"),
    path("projects/<slug:slug>/reports/people/", api.PeopleReport.as_view(), name="report-people"),
    path("projects/<slug:slug>/exclusions/", api.ExclusionCreate.as_view(), name="exclusions"),
    path("projects/<slug:slug>/exclusions/<int:pk>/", api.ExclusionLift.as_view(), name="exclusion"),
    path("projects/<slug:slug>/reports/leaderboard/", api.LeaderboardReport.as_view(), name="report-leaderboard"),
]
