from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from apps.quotas import views

app_name = "quotas"
urlpatterns: list[URLPattern | URLResolver] = [
    path("p/<slug:slug>/settings/quotas/", views.of_project, name="project"),
    path("quotas/", views.everything, name="all"),
    path("quotas/projects/<slug:slug>/", views.set_project, name="set-project"),
    path("quotas/people/<int:pk>/", views.set_person, name="set-person"),
]
