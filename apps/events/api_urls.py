from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from apps.events import api, audit_api

urlpatterns: list[URLPattern | URLResolver] = [
    path("audit/", audit_api.InstallationAudit.as_view(), name="api-audit-all"),
    path("projects/<slug:slug>/audit/", audit_api.ProjectAudit.as_view(), name="api-audit"),
    path("notifications/", api.Notifications.as_view(), name="api-notifications"),
    path("projects/<slug:slug>/webhooks/", api.Webhooks.as_view(), name="api-webhooks"),
    path("projects/<slug:slug>/webhooks/<int:pk>/", api.WebhookDetail.as_view(), name="api-webhook"),
    path("projects/<slug:slug>/webhooks/<int:pk>/ping/", api.WebhookPing.as_view(), name="api-webhook-ping"),
    path("projects/<slug:slug>/webhooks/<int:pk>/deliveries/", api.Deliveries.as_view(), name="api-deliveries"),
    path(
        "projects/<slug:slug>/webhooks/<int:pk>/deliveries/<int:delivery>/again/",
        api.DeliveryAgain.as_view(),
        name="api-delivery-again",
    ),
]
