from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from apps.reports import frontier_views, views

app_name = "reports"
urlpatterns: list[URLPattern | URLResolver] = [
    path("p/<slug:slug>/reports/agreement/", views.agreement, name="agreement"),
    path("p/<slug:slug>/reports/agreement.json", views.agreement_json, name="agreement-json"),
    path("p/<slug:slug>/reports/leaderboard/", views.leaderboard, name="leaderboard"),
    path("p/<slug:slug>/reports/leaderboard.json", views.leaderboard_json, name="leaderboard-json"),
    path("p/<slug:slug>/reports/frontier/", frontier_views.frontier, name="frontier"),
    path("p/<slug:slug>/reports/frontier.json", frontier_views.frontier_json, name="frontier-json"),
]
