from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from apps.reports import frontier_views, people_views, views

app_name = "reports"
urlpatterns: list[URLPattern | URLResolver] = [
    path("p/<slug:slug>/reports/", views.reports, name="reports"),
    path("p/<slug:slug>/reports/agreement/", views.agreement, name="agreement"),
    path("p/<slug:slug>/reports/agreement/slices/", views.agreement_slices, name="agreement-slices"),
    path("p/<slug:slug>/reports/leaderboard/", views.leaderboard, name="leaderboard"),
    path("p/<slug:slug>/reports/leaderboard/work-out/", views.leaderboard_work_out, name="leaderboard-work-out"),
    *(
        path(f"p/<slug:slug>/reports/agreement.{form}", views.agreement_file, {"form": form}, name=f"agreement-{form}")
        for form in ("json", "csv", "html")
    ),
    *(
        path(
            f"p/<slug:slug>/reports/leaderboard.{form}",
            views.leaderboard_file,
            {"form": form},
            name=f"leaderboard-{form}",
        )
        for form in ("json", "csv", "html")
    ),
    path("p/<slug:slug>/reports/people/", people_views.people, name="people"),
    path("p/<slug:slug>/reports/people/exclude/", people_views.exclude, name="people-exclude"),
    path("p/<slug:slug>/reports/people/exclusions/<int:pk>/lift/", people_views.lift, name="people-lift"),
    path("p/<slug:slug>/reports/frontier/", frontier_views.frontier, name="frontier"),
    *(
        path(
            f"p/<slug:slug>/reports/frontier.{form}",
            frontier_views.frontier_file,
            {"form": form},
            name=f"frontier-{form}",
        )
        for form in ("json", "csv", "html")
    ),
]
