from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from apps.training.lineage import best_of_n_views, compare_views, takeaway_views, usage_views
from apps.training.loops import meeting_views, steering_views, views

app_name = "training"
urlpatterns: list[URLPattern | URLResolver] = [
    path("p/<slug:slug>/loops/", views.loop_list, name="loops"),
    path("p/<slug:slug>/loops/compare/", compare_views.loops, name="compare_loops"),
    path("p/<slug:slug>/policies/compare/", compare_views.checkpoints, name="compare_checkpoints"),
    path("p/<slug:slug>/policies/meet/", meeting_views.meet, name="meet"),
    path("p/<slug:slug>/loops/new/", views.gallery, name="gallery"),
    path("p/<slug:slug>/loops/new/<slug:recipe>/", views.new, name="new"),
    path("p/<slug:slug>/loops/new/<slug:recipe>/forecast/", views.forecast_part, name="forecast"),
    path("p/<slug:slug>/loops/new/<slug:recipe>/ingredient/", views.ingredient, name="ingredient"),
    path("p/<slug:slug>/loops/<int:pk>/", views.loop, name="loop"),
    path("p/<slug:slug>/loops/<int:pk>/curves/", views.curves, name="curves"),
    path("p/<slug:slug>/loops/<int:pk>/pause/", steering_views.pause, name="pause"),
    path("p/<slug:slug>/loops/<int:pk>/cancel/", steering_views.cancel, name="cancel"),
    path("p/<slug:slug>/loops/<int:pk>/resume/", steering_views.resume, name="resume"),
    path("p/<slug:slug>/loops/<int:pk>/continue/", steering_views.go_on, name="continue"),
    path("p/<slug:slug>/loops/<int:pk>/change/", steering_views.change, name="change"),
    path(
        "p/<slug:slug>/loops/<int:pk>/rounds/<int:index>/without-overrides/",
        steering_views.without_overrides,
        name="without_overrides",
    ),
    path("p/<slug:slug>/snapshots/<int:pk>/", views.snapshot, name="snapshot"),
    # a checkpoint's card and labels know loops, so they lie here, above apps/policies
    path("p/<slug:slug>/policies/<int:pk>/card/", takeaway_views.card, name="card"),
    path("p/<slug:slug>/policies/<int:pk>/download/", takeaway_views.download, name="download"),
    path("p/<slug:slug>/policies/<int:pk>/labels/", usage_views.labels, name="labels"),
    path("p/<slug:slug>/policies/<int:pk>/best-of-n/", best_of_n_views.explorer, name="best_of_n"),
    path("p/<slug:slug>/comparisons/<int:pk>/used/", usage_views.used, name="used"),
]
