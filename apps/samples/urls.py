from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from apps.samples.views import browse, runs

app_name = "samples"
urlpatterns: list[URLPattern | URLResolver] = [
    path("p/<slug:slug>/samples/", browse.answers, name="answers"),
    path("p/<slug:slug>/samples/new/", runs.new, name="new"),
    path("p/<slug:slug>/samples/compare/", runs.compare_answers, name="compare-answers"),
    path("p/<slug:slug>/samples/runs/", runs.runs, name="runs"),
    path("p/<slug:slug>/samples/runs/<int:pk>/", runs.run, name="run"),
    path("p/<slug:slug>/samples/runs/<int:pk>/compare/", runs.compare, name="compare"),
    # a prompt's page shows its answers, so it lies here, above apps/prompts
    path("p/<slug:slug>/prompts/<int:pk>/", browse.prompt, name="prompt"),
]
