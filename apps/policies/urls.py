from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from apps.policies import upload_views, views

app_name = "policies"
urlpatterns: list[URLPattern | URLResolver] = [
    path("p/<slug:slug>/policies/", views.policies, name="list"),
    path("p/<slug:slug>/policies/import/", views.import_, name="import"),
    path("p/<slug:slug>/policies/average/", views.average, name="average"),
    path("p/<slug:slug>/policies/uploads/", upload_views.start, name="upload"),
    path("p/<slug:slug>/policies/uploads/<str:name>/", upload_views.piece, name="upload_piece"),
    path("p/<slug:slug>/policies/uploads/<str:name>/finish/", upload_views.finish, name="upload_finish"),
    path("p/<slug:slug>/policies/uploads/<str:name>/drop/", upload_views.drop, name="upload_drop"),
    path("p/<slug:slug>/policies/endpoints/new/", views.endpoint_new, name="endpoint_new"),
    path("p/<slug:slug>/policies/<int:pk>/", views.checkpoint, name="checkpoint"),
    path("p/<slug:slug>/policies/<int:pk>/default/", views.make_default, name="default"),
    path("p/<slug:slug>/policies/<int:pk>/approve/", views.approve, name="approve"),
    path("p/<slug:slug>/policies/<int:pk>/approval/withdraw/", views.withdraw_approval, name="withdraw_approval"),
]
