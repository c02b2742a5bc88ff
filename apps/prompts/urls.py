from __future__ import annotations

from django.urls import URLPattern, URLResolver

app_name = "prompts"
urlpatterns: list[URLPattern | URLResolver] = []
