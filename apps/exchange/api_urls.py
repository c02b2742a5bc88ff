from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from apps.exchange import api, data_api

_UPLOAD = "projects/<slug:slug>/uploads/<str:token>/"

urlpatterns: list[URLPattern | URLResolver] = [
    path("projects/<slug:slug>/records/", api.Records.as_view(), name="records"),
    path("projects/<slug:slug>/uploads/", data_api.Uploads.as_view(), name="api-uploads"),
    path("projects/<slug:slug>/uploads/hub/", data_api.HubUploads.as_view(), name="api-hub-uploads"),
    path(_UPLOAD, data_api.UploadDetail.as_view(), name="api-upload"),
    path(f"{_UPLOAD}mapping/", data_api.UploadMapping.as_view(), name="api-upload-mapping"),
    path(f"{_UPLOAD}import/", data_api.UploadImport.as_view(), name="api-upload-import"),
    path("projects/<slug:slug>/imports/", data_api.Imports.as_view(), name="api-imports"),
    path("projects/<slug:slug>/imports/<int:pk>/", data_api.ImportDetail.as_view(), name="api-import"),
    path("projects/<slug:slug>/exports/", data_api.Exports.as_view(), name="api-exports"),
    path("projects/<slug:slug>/exports/<slug:shape>/", data_api.Export.as_view(), name="api-export"),
]
