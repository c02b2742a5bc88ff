from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from apps.policies import views

app_name = "policies"
urlpatterns: list[URLPattern | URLResolver] = [
    path("p/<slug:slug>/policies/", views.policies, name="list"),
    path("p/<slug:slug>/policies/import/", views.import_, name="import"),
    path("p/<slug:slug>/policies/endpoints/new/", views.endpoint_new, name="endpoint_new"),
    path("p/<slug:slug>/policies/<int:pk>/", views.checkpoint, name="checkpoint"),
    path("p/<slug:slug>/policies/<int:pk>/default/", views.make_default, name="default"),
    path("p/<slug:slug>/policies/<int:pk>/approve/", views.approve, name="approve"),
    path("p/<slug:slug>/policies/<int:pk>/approval/withdraw/", views.withdraw_approval, name="withdraw_approval"),
]
