from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from apps.judging import api

urlpatterns: list[URLPattern | URLResolver] = [
    path("projects/<slug:slug>/judges/", api.Judges.as_view(), name="api-judges"),
    path("projects/<slug:slug>/judges/<int:pk>/corrections/", api.Corrections.as_view(), name="api-corrections"),
    path("projects/<slug:slug>/judges/<int:pk>/alignments/", api.Alignments.as_view(), name="api-alignments"),
    path("projects/<slug:slug>/alignments/<int:pk>/", api.AlignmentDetail.as_view(), name="api-alignment"),
    path("projects/<slug:slug>/alignments/<int:pk>/use/", api.AlignmentUse.as_view(), name="api-alignment-use"),
]
