from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from apps.judging import api, endpoint_api, making_api

_JUDGE = "projects/<slug:slug>/judges/<int:pk>/"
_ENDPOINT = "projects/<slug:slug>/endpoints/<int:pk>/"
urlpatterns: list[URLPattern | URLResolver] = [
    path("projects/<slug:slug>/judges/", making_api.Judges.as_view(), name="api-judges"),
    path("projects/<slug:slug>/judges/trials/", making_api.JudgeTrials.as_view(), name="api-judge-trials"),
    path("projects/<slug:slug>/judges/trials/<int:pk>/", making_api.TrialDetail.as_view(), name="api-judge-trial"),
    path(_JUDGE, making_api.JudgeDetail.as_view(), name="api-judge"),
    path(f"{_JUDGE}versions/", making_api.JudgeVersions.as_view(), name="api-judge-versions"),
    path(f"{_JUDGE}trials/", making_api.VersionTrials.as_view(), name="api-judge-version-trials"),
    path(f"{_JUDGE}attack/", making_api.JudgeAttack.as_view(), name="api-judge-attack"),
    path(f"{_JUDGE}test/", making_api.JudgeTest.as_view(), name="api-judge-test"),
    path(f"{_JUDGE}retire/", making_api.JudgeRetire.as_view(), name="api-judge-retire"),
    path(f"{_JUDGE}use-for-labels/", making_api.JudgeForLabels.as_view(), name="api-judge-for-labels"),
    path(f"{_JUDGE}runs/", api.JudgingRuns.as_view(), name="api-judging-runs"),
    path(f"{_JUDGE}runs/<int:run>/continue/", api.JudgingContinue.as_view(), name="api-judging-continue"),
    path(f"{_JUDGE}retry/", api.JudgingRetry.as_view(), name="api-judging-retry"),
    path(f"{_JUDGE}corrections/", api.Corrections.as_view(), name="api-corrections"),
    path(f"{_JUDGE}alignments/", api.Alignments.as_view(), name="api-alignments"),
    path("projects/<slug:slug>/alignments/<int:pk>/", api.AlignmentDetail.as_view(), name="api-alignment"),
    path("projects/<slug:slug>/alignments/<int:pk>/use/", api.AlignmentUse.as_view(), name="api-alignment-use"),
    path("projects/<slug:slug>/endpoints/", endpoint_api.Endpoints.as_view(), name="api-endpoints"),
    path(_ENDPOINT, endpoint_api.EndpointDetail.as_view(), name="api-endpoint"),
    path(f"{_ENDPOINT}test/", endpoint_api.EndpointTest.as_view(), name="api-endpoint-test"),
    path(f"{_ENDPOINT}probe/", endpoint_api.EndpointProbe.as_view(), name="api-endpoint-probe"),
]
