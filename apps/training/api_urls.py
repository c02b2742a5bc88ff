from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from apps.training.loops import api, meeting_api, steering_api

urlpatterns: list[URLPattern | URLResolver] = [
    path("projects/<slug:slug>/loops/", api.Loops.as_view(), name="api-loops"),
    path("projects/<slug:slug>/recipes/<slug:recipe>/ingredient/", api.Ingredient.as_view(), name="api-ingredient"),
    path("projects/<slug:slug>/meetings/", meeting_api.Meetings.as_view(), name="api-meetings"),
    path("loops/<int:pk>/", api.LoopDetail.as_view(), name="api-loop"),
    path("loops/<int:pk>/pause/", steering_api.LoopPause.as_view(), name="api-loop-pause"),
    path("loops/<int:pk>/resume/", steering_api.LoopResume.as_view(), name="api-loop-resume"),
    path("loops/<int:pk>/cancel/", steering_api.LoopCancel.as_view(), name="api-loop-cancel"),
    path("loops/<int:pk>/continue/", steering_api.LoopContinue.as_view(), name="api-loop-continue"),
    path("loops/<int:pk>/changes/", steering_api.LoopChanges.as_view(), name="api-loop-changes"),
    path(
        "loops/<int:pk>/rounds/<int:index>/without-overrides/",
        steering_api.WithoutOverrides.as_view(),
        name="api-without-overrides",
    ),
]
