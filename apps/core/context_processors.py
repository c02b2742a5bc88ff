"""Template variables that every page needs."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from apps.core import shell as shell_registry

THEMES = ("auto", "light", "dark")


def shell(request: HttpRequest) -> dict[str, Any]:
    """Give templates `theme` (auto, light or dark), `shell_jobs` (running jobs that the person may see) and
    `shell_notifications` (theirs that are unread).
    """
    user = getattr(request, "user", None)
    signed_in = user is not None and user.is_authenticated
    theme = getattr(user, "theme", None) if signed_in else request.COOKIES.get("theme")
    return {
        "theme": theme if theme in THEMES else "auto",
        "shell_jobs": shell_registry.count("jobs", user=user, project=None) if signed_in else None,
        "shell_notifications": shell_registry.count("notifications", user=user, project=None) if signed_in else None,
    }
