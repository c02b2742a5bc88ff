from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from apps.events import audit_views, views

app_name = "events"
urlpatterns: list[URLPattern | URLResolver] = [
    path("audit/", audit_views.of_installation, name="audit-all"),
    path("p/<slug:slug>/settings/audit/", audit_views.of_project, name="audit"),
    path("notifications/", views.notifications, name="notifications"),
    path("p/<slug:slug>/settings/webhooks/", views.webhooks, name="webhooks"),
    path("p/<slug:slug>/settings/webhooks/<int:pk>/", views.webhook, name="webhook"),
    path("p/<slug:slug>/settings/webhooks/<int:pk>/switch/", views.switch, name="webhook-switch"),
    path("p/<slug:slug>/settings/webhooks/<int:pk>/ping/", views.ping, name="webhook-ping"),
    path("p/<slug:slug>/settings/webhooks/<int:pk>/delete/", views.delete, name="webhook-delete"),
    path("p/<slug:slug>/settings/webhooks/<int:pk>/log/<int:delivery>/again/", views.again, name="delivery-again"),
]
