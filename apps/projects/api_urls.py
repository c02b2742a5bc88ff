from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from apps.projects import api, groups_api, settings_api

urlpatterns: list[URLPattern | URLResolver] = [
    path("projects/", settings_api.Projects.as_view(), name="api-projects"),
    path("projects/<slug:slug>/", settings_api.ProjectDetail.as_view(), name="api-project"),
    path("projects/<slug:slug>/label-policy/", settings_api.LabelPolicy.as_view(), name="api-label-policy"),
    path("projects/<slug:slug>/guidelines/", settings_api.Guidelines.as_view(), name="api-guidelines"),
    path("projects/<slug:slug>/members/", api.Members.as_view(), name="api-members"),
    path("projects/<slug:slug>/members/<int:pk>/", api.MemberDetail.as_view(), name="api-member"),
    path("projects/<slug:slug>/groups/", groups_api.Groups.as_view(), name="api-groups"),
    path("projects/<slug:slug>/groups/<int:pk>/", groups_api.GroupDetail.as_view(), name="api-group"),
    path("projects/<slug:slug>/invitations/", api.Invitations.as_view(), name="api-invitations"),
    path("projects/<slug:slug>/invitations/<int:pk>/", api.InvitationDetail.as_view(), name="api-invitation"),
]
