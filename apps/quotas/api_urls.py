from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from apps.quotas import api

urlpatterns: list[URLPattern | URLResolver] = [
    path("projects/<slug:slug>/quotas/", api.ProjectQuotas.as_view(), name="api-quotas"),
    path("quotas/projects/", api.AllProjectQuotas.as_view(), name="api-quotas-projects"),
    path("quotas/projects/<slug:slug>/", api.SetProjectQuotas.as_view(), name="api-quotas-project"),
    path("quotas/people/", api.AllPersonQuotas.as_view(), name="api-quotas-people"),
    path("quotas/people/<int:pk>/", api.SetPersonQuotas.as_view(), name="api-quotas-person"),
]
