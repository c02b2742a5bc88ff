from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from apps.ratings.views import gold, practice, rate

app_name = "ratings"
urlpatterns: list[URLPattern | URLResolver] = [
    path("p/<slug:slug>/annotate/rate/", rate.desk, name="desk"),
    path("p/<slug:slug>/annotate/rate/next/", rate.lease, name="next"),
    path("p/<slug:slug>/annotate/rate/save/", rate.save, name="save"),
    path("p/<slug:slug>/annotate/rate/undo/", rate.undo, name="undo"),
    path("p/<slug:slug>/annotate/rate/flag/", rate.raise_flag, name="flag"),
    path("p/<slug:slug>/annotate/rate/history/", rate.history, name="history"),
    path("p/<slug:slug>/annotate/rate/practice/", practice.practice, name="practice"),
    path("p/<slug:slug>/review/gold/answers/<int:answer_id>/", gold.gold, name="gold"),
]
