from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from apps.judging.views import alignment, edit, judges, trials

app_name = "judging"
urlpatterns: list[URLPattern | URLResolver] = [
    path("p/<slug:slug>/judges/", judges.judges, name="list"),
    path("p/<slug:slug>/judges/new/", edit.new, name="new"),
    path("p/<slug:slug>/judges/<int:pk>/", judges.judge, name="judge"),
    path("p/<slug:slug>/judges/<int:pk>/edit/", edit.edit, name="edit"),
    path("p/<slug:slug>/judges/<int:pk>/runs/", judges.runs, name="runs"),
    path("p/<slug:slug>/judges/<int:pk>/ask/", judges.ask, name="ask"),
    path("p/<slug:slug>/judges/<int:pk>/retry/", judges.retry, name="retry"),
    path("p/<slug:slug>/judges/<int:pk>/runs/<int:run>/go-on/", judges.go_on, name="go-on"),
    path("p/<slug:slug>/judges/<int:pk>/attack/", trials.attack, name="attack"),
    path("p/<slug:slug>/judges/<int:pk>/align/", alignment.align, name="align"),
    path("p/<slug:slug>/judges/alignments/<int:pk>/", alignment.alignment, name="alignment"),
    path("p/<slug:slug>/judges/alignments/<int:pk>/use/", alignment.use, name="alignment-use"),
    path("p/<slug:slug>/judges/trials/<int:pk>/", trials.trial, name="trial"),
    path("p/<slug:slug>/judges/<int:pk>/test/", judges.test_stored, name="test"),
    path("p/<slug:slug>/judges/<int:pk>/retire/", judges.retire, name="retire"),
    path("p/<slug:slug>/judges/<int:pk>/use-for-labels/", judges.use_for_labels, name="use-for-labels"),
    path("p/<slug:slug>/judges/endpoints/<int:pk>/", edit.endpoint, name="endpoint"),
]
