"""Every address of the product; each app owns its own list (`urls.py` for pages, `api_urls.py` for the API)."""

from __future__ import annotations

from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView

APPS = (
    "core",
    "accounts",
    "projects",
    "quotas",
    "jobs",
    "events",
    "prompts",
    "policies",
    "samples",
    "judging",
    "rankings",
    "ratings",
    "exchange",
    "training",
    "reports",
    "removal",
    "dashboard",
)

urlpatterns = [
    path("", include("apps.accounts.allauth_urls")),
    *[path("", include(f"apps.{app}.urls")) for app in APPS],
    *[path("api/v1/", include(f"apps.{app}.api_urls")) for app in APPS],
    path("api/schema/", SpectacularAPIView.as_view(), name="api-schema"),
]
