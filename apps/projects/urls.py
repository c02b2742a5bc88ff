from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from apps.projects import group_views, views

app_name = "projects"
urlpatterns: list[URLPattern | URLResolver] = [
    path("", views.home, name="home"),
    path("projects/new/", views.new, name="new"),
    path("invitation/<str:token>/", views.invitation, name="invitation"),
    path("p/<slug:slug>/settings/", views.settings, name="settings"),
    path("p/<slug:slug>/settings/general/", views.general_save, name="general-save"),
    path("p/<slug:slug>/settings/labels/", views.labels_save, name="labels-save"),
    path("p/<slug:slug>/settings/guidelines/", views.guideline_save, name="guideline-save"),
    path("p/<slug:slug>/settings/members/<int:pk>/role/", views.member_role, name="member-role"),
    path("p/<slug:slug>/settings/members/<int:pk>/remove/", views.member_remove, name="member-remove"),
    path("p/<slug:slug>/groups/", group_views.new, name="group-new"),
    path("p/<slug:slug>/groups/<int:pk>/", group_views.change, name="group-change"),
    path("p/<slug:slug>/groups/<int:pk>/delete/", group_views.delete, name="group-delete"),
    path("p/<slug:slug>/settings/invitations/", views.invitation_new, name="invitation-new"),
    path("p/<slug:slug>/settings/invitations/<int:pk>/revoke/", views.invitation_revoke, name="invitation-revoke"),
]
