from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from apps.reports import frontier_views, people_views, ratings_views, reasons_views, reward_model_views, views
from apps.reports.laboratory import views as laboratory_views

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
    path("p/<slug:slug>/reports/reasons/", reasons_views.reasons, name="reasons"),
    *(
        path(
            f"p/<slug:slug>/reports/reasons.{form}", reasons_views.reasons_file, {"form": form}, name=f"reasons-{form}"
        )
        for form in ("json", "csv")
    ),
    path("p/<slug:slug>/reports/ratings/", ratings_views.ratings, name="ratings"),
    *(
        path(
            f"p/<slug:slug>/reports/ratings.{form}", ratings_views.ratings_file, {"form": form}, name=f"ratings-{form}"
        )
        for form in ("json", "csv")
    ),
    path("p/<slug:slug>/reports/reward-models/", reward_model_views.reward_models, name="reward-models"),
    *(
        path(
            f"p/<slug:slug>/reports/reward-models.{form}",
            reward_model_views.reward_models_file,
            {"form": form},
            name=f"reward-models-{form}",
        )
        for form in ("json", "csv")
    ),
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
    path("p/<slug:slug>/reports/laboratory/", laboratory_views.laboratory, name="laboratory"),
    path("p/<slug:slug>/reports/laboratory/<slug:name>/", laboratory_views.study, name="study"),
    path("p/<slug:slug>/reports/laboratory/<slug:name>/run/", laboratory_views.study_run, name="study-run"),
    path("p/<slug:slug>/reports/laboratory/<slug:name>/stop/", laboratory_views.study_halt, name="study-stop"),
    *(
        path(
            f"p/<slug:slug>/reports/laboratory/<slug:name>.{form}",
            laboratory_views.study_file,
            {"form": form},
            name=f"study-{form}",
        )
        for form in ("json", "csv", "html")
    ),
]
