from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from apps.policies import api, upload_api

_POLICY = "projects/<slug:slug>/policies/<int:pk>/"
_UPLOAD = "projects/<slug:slug>/model-uploads/<str:name>/"
urlpatterns: list[URLPattern | URLResolver] = [
    path("projects/<slug:slug>/policies/", api.Policies.as_view(), name="api-policies"),
    path("projects/<slug:slug>/policies/look/", api.PolicyLook.as_view(), name="api-policy-look"),
    path("projects/<slug:slug>/policies/average/", api.PolicyAverage.as_view(), name="api-policy-average"),
    path(_POLICY, api.PolicyDetail.as_view(), name="api-policy"),
    path(f"{_POLICY}default/", api.PolicyDefault.as_view(), name="api-policy-default"),
    path(f"{_POLICY}approval/", api.PolicyApproval.as_view(), name="api-policy-approval"),
    path("projects/<slug:slug>/model-uploads/", upload_api.ModelUploads.as_view(), name="api-model-uploads"),
    path(_UPLOAD, upload_api.ModelUpload.as_view(), name="api-model-upload"),
    path(f"{_UPLOAD}finish/", upload_api.ModelUploadFinish.as_view(), name="api-model-upload-finish"),
]
